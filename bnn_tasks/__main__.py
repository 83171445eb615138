"""``python -m bnn_tasks`` is the ``bnn-tasks`` command."""

from bnn_tasks.cli import main

if __name__ == "__main__":
    main()
