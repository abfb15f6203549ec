"""The command line: parse, call, print. Starts without importing torch, numpy or anything of the user's."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line (entry point). Exit codes: 0 done, 1 a bug of ours, 2 input, 3 budget, 4 environment."""
    from edgeglm.cli.signals import stop_on_signals

    stop_on_signals()
    from edgeglm.cli.console import outlive_closed_stdout, outlive_stderr
    from edgeglm.leftovers import temporary_folder_of_run

    outlive_closed_stdout()  # first: the lowest number that is free is its own
    outlive_stderr()
    with temporary_folder_of_run():
        code = _run()
    if "duckdb" not in sys.modules:  # which complains at length of every object that is left at the end
        gc.freeze()  # a last search of torch's objects for cycles would take a second, and frees what goes anyway
    sys.exit(code)


def _run() -> int:
    import typer

    from edgeglm.cli.app import app
    from edgeglm.cli.console import reader_has_left
    from edgeglm.cli.signals import EXIT_CODES, last_words
    from edgeglm.errors import EdgeglmError
    from edgeglm.files import as_system_error

    try:
        result = app(standalone_mode=False)
    except SystemExit as ended:  # typer makes it of every broken pipe
        if reader_has_left():  # of what typer prints itself: `edgeglm --help | head`
            return 0
        raise (ended.__context__ or ended) from None
    except typer.Abort:  # of a KeyboardInterrupt that somebody's code raised by itself
        print(last_words(), file=sys.stderr)
        return EXIT_CODES[signal.SIGINT]
    except typer.TyperException as wrong:  # the command line itself is wrong
        show = getattr(wrong, "show", None)  # with the usage line, where the error knows its command
        show(sys.stderr) if show else print(wrong, file=sys.stderr)
        return 2
    except EdgeglmError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if (known := as_system_error(error)) is None:
            raise
        print(known, file=sys.stderr)
        return known.exit_code
    return result if isinstance(result, int) else 0
