"""Entry point of ``cifar10net-train``; explains in one sentence if PyTorch is not installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit 1 if PyTorch is not installed."""
    try:
        from training.cli import main as run  # noqa: PLC0415 - importing it needs PyTorch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        sys.stderr.write(
            "error: training needs PyTorch, which is not installed: "
            "pip install '.[cpu,train]' in the checkout\n"
        )
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
