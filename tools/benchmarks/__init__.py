"""One module per benchmark; ``tools/benchmark.py`` offers each as a sub-command, by its name.

A benchmark's module has a docstring, whose first line is the help text, and two functions:

* ``add_arguments(parser)`` adds its own options;
* ``main(arguments)`` measures and yields :class:`benchmarks.timing.Comparison` values, each as soon as it is known.

Modules without ``add_arguments`` serve the others. All are imported for every command: import what is slow in ``main``.
"""
