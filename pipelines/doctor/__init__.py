"""What a machine has of all that embedding needs: what is wrong, and the command that mends it."""
