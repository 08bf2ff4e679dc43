//! `coldframe doctor`: what this host offers, which guarantees hold, what to do about the others.

use std::process::ExitCode;

use coldframe_sandbox::{Driver, Spec};

use crate::arguments::Service;
use crate::instance::Instance;
use crate::out::say;
use crate::service;

pub(crate) async fn doctor(mut instance: Instance) -> anyhow::Result<ExitCode> {
    let runtimes = service::runtimes(&instance);
    let driver = service::driver(&mut instance, &Service::ephemeral())?;
    let guarantees = driver.guarantees();
    let (mut sound, mut told) = (true, Vec::new());
    let mut line = |good: bool, what: &str, remedy: &str| {
        sound &= good;
        let mark = if good { "✓" } else { "✗" };
        told.push(format!("{mark} {what}"));
        if !good {
            told.push(format!("    {remedy}"));
        }
    };

    let spec = Spec {
        hostname: "doctor".to_owned(),
        mounts: Vec::new(),
        memory_bytes: 128 * 1024 * 1024,
        scratch_mb: 512,
        processes_max: 16,
        open_files_max: 64,
    };
    match driver.create(spec).await {
        Ok(_) => line(
            true,
            "sandboxes can be made: all namespaces, a root of their own, a system call filter",
            "",
        ),
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            line(
                false,
                &format!("no sandbox can be made: {error}"),
                "coldframe needs Linux 5.14 or newer; as an ordinary user also unprivileged user \
                 namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                 AppArmor's restriction of them)",
            );
        }
    }
    line(
        !guarantees.rootless,
        if guarantees.rootless {
            "runs as an ordinary user: all environments share your user id outside"
        } else {
            "runs as root: every environment has user ids of its own outside"
        },
        "run as root for user ids apart, /tmp on disk and limits by control groups",
    );
    line(
        guarantees.cgroup_freeze,
        if guarantees.cgroup_freeze {
            "environments are frozen by the kernel (cgroup v2 freezer), invisibly"
        } else {
            "environments are frozen by SIGSTOP, which their processes can notice"
        },
        "mount cgroup2, and as an ordinary user start coldframe in a delegated group: \
         systemd-run --user --scope -p Delegate=yes coldframe up",
    );
    for (controller, version) in guarantees.limits {
        let what = match controller {
            "memory" => "memory limit",
            "cpu" => "CPU share",
            _ => "limit of processes",
        };
        match version {
            Some(version) => line(true, &format!("{what}: enforced by cgroup v{version}"), ""),
            None if controller == "cpu" => {
                line(
                    false,
                    "CPU share: not enforced",
                    "give coldframe the cpu controller of cgroup v2",
                );
            }
            None => line(
                false,
                &format!("{what}: enforced by rlimits only, for each process or user"),
                "give coldframe the controller, as above",
            ),
        }
    }
    line(
        guarantees.scratch_on_disk,
        if guarantees.scratch_on_disk {
            "/tmp is on disk with a hard quota, apart from the function's memory"
        } else {
            "/tmp is in memory, and counts as the function's"
        },
        "run as root, with loop devices and mkfs.ext4 (package e2fsprogs)",
    );
    match &guarantees.egress {
        Ok(subnet) => {
            line(true, &format!("functions reach the network from {subnet}, masqueraded"), "");
        }
        Err(error) => line(
            false,
            &format!("functions reach nothing but allowed ports of this host: {error}"),
            "run as root on a kernel with nf_tables (modules nft_masq, nft_ct, veth)",
        ),
    }
    let found = runtimes.list();
    line(
        !found.is_empty(),
        if found.is_empty() {
            "no interpreter for python3.N or nodejsN.x was found"
        } else {
            "interpreters found:"
        },
        "install Python or Node.js so that it is on the PATH, or by pyenv or nvm; \
         provided.al2023 and provided.al2 need none",
    );
    for runtime in found {
        told.push(format!("    {:<12} {}", runtime.name, runtime.interpreter.display()));
    }
    let _ = tokio::task::spawn_blocking(move || driver.close()).await;
    drop(instance);
    for line in told {
        say!("{line}")?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
