//! The CPUs on which the FUSE threads run: they follow a program that sends many requests.

use std::fs;
use std::thread;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::device::Device;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

/// The CPUs on which each FUSE thread of this device may run.
fn thread_cpus(device: &Device) -> Vec<CpuSet> {
    let threads = fs::read_dir(format!("/proc/{}/task", device.process_id())).expect("it runs");
    threads
        .map(|thread| thread.expect("listed").path())
        .filter(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("fuser-"))
        })
        .map(|thread| {
            let number: i32 = thread
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok())
                .expect("a number");
            sched_getaffinity(Pid::from_raw(number)).expect("it runs")
        })
        .collect()
}

/// Looks up `names` different names that do not exist, without a pause.
fn look_up(device: &Device, from: usize, names: usize) {
    for name in from..from + names {
        assert!(!device.path(format!("missing-{name}")).exists());
    }
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let ours = sched_getaffinity(None).expect("we run");
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| ours.is_set(*cpu))
        .collect()
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

/// Runs `what` on one CPU.
fn on<T: Send>(cpu: usize, what: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            sched_setaffinity(None, &only(cpu)).expect("one of ours");
            what()
        });
        there.join().expect("it went well")
    })
}

#[test]
fn fuse_threads_follow_a_busy_caller_to_its_cpu_until_it_stops() {
    let installation = Installation::new();
    let device = installation.device(&installation.user("anna"), "laptop");
    let anywhere = thread_cpus(&device);
    assert!(!anywhere.is_empty(), "the threads are found by their names");
    let mut asked = 0;

    for cpu in cpus() {
        on(cpu, || {
            eventually(
                SOON,
                "the FUSE threads are on the CPU of the program",
                || {
                    look_up(&device, asked, 256);
                    asked += 256;
                    thread_cpus(&device).iter().all(|place| *place == only(cpu))
                },
            );
        });
    }

    eventually(SOON, "a single question after a while frees them", || {
        look_up(&device, asked, 1);
        asked += 1;
        thread_cpus(&device) == anywhere
    });
}

#[test]
fn fuse_threads_stay_on_the_cpus_that_the_client_was_confined_to() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let all = cpus();
    let (kept, other) = (all[0], all[all.len() - 1]);
    let device = on(kept, || installation.device(&anna, "laptop"));
    let confined = thread_cpus(&device);
    assert!(
        confined.iter().all(|place| *place == only(kept)),
        "{confined:?}"
    );

    on(other, || look_up(&device, 0, 2_000));

    assert_eq!(thread_cpus(&device), confined);
}
