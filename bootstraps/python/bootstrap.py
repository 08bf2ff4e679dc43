"""Starts the Python runtime interface client.

A script is compiled anew at every start, a module comes from its `.pyc`: so this file only finds the client beside
itself. `sys.path` is not asked, as it may name the function's modules first.
"""

# `multiprocessing` runs this file again in its children, under another name.
if __name__ == "__main__":
    import sys
    from _frozen_importlib import _load
    from _frozen_importlib_external import spec_from_file_location

    name = "_coldframe_runtime"
    directory = __file__.rpartition("/")[0] or "."
    _load(spec_from_file_location(name, directory + "/" + name + ".py")).main(sys.argv)
