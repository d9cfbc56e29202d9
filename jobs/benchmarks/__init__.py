"""The benchmarks' code, a module a subject; jobs/benchmark.py is their entry point."""
