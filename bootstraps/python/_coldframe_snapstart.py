"""The wait of a SnapStart environment for its snapshot and its restore. Loaded only there."""

import sys

import _coldframe_runtime as runtime


def wait_for_restore(client, sink):
    """Runs the hooks around the snapshot. A failing hook ends the process, with the code that AWS's client uses."""
    hooks = sys.modules.get("snapshot_restore_py")
    errors = runtime.helper("_coldframe_errors")
    try:
        if hooks is not None:
            before = hooks.get_before_snapshot()
            while before:
                function, arguments, options = before.pop()
                function(*arguments, **options)
        runtime._flush(sys.stdout, sys.stderr)
        client.get("restore/next")
    except BaseException as error:
        errors.report(error, client, sink, "init/error", "Runtime.BeforeSnapshotError")
        sys.exit(64)
    try:
        if hooks is not None:
            for function, arguments, options in hooks.get_after_restore():
                function(*arguments, **options)
    except BaseException as error:
        errors.report(error, client, sink, "restore/error", "Runtime.AfterRestoreError")
        sys.exit(65)
