"""Object stores: how they are opened, which of their failures pass by themselves, and what their errors mean."""
