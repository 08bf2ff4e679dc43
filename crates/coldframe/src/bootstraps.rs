//! Our runtime clients, embedded.

use coldframe_engine::Bootstraps;

macro_rules! files {
    ($directory:literal, $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../bootstraps/", $directory, "/", $name)))),*]
    };
}

pub(crate) const BOOTSTRAPS: Bootstraps = Bootstraps {
    python: files!(
        "python",
        "bootstrap.py",
        "_coldframe_errors.py",
        "_coldframe_logging.py",
        "_coldframe_runtime.py",
        "_coldframe_snapstart.py",
        "snapshot_restore_py.py",
    ),
    nodejs: files!(
        "nodejs",
        "bootstrap.cjs",
        "bootstrap.mjs",
        "client.cjs",
        "errors.cjs",
        "log.cjs",
        "streaming.cjs",
    ),
};
