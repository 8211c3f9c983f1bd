//! Where the threads that answer the kernel run: on the processor of the program that asks, while
//! it asks much.

use std::fs;
use std::thread;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::device::Device;
use crate::eventually::{SOON, eventually};
use crate::installation::Installation;

/// Where each thread of this device that answers the kernel may run.
fn places(device: &Device) -> Vec<CpuSet> {
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

/// Asks for that many names that are not there, each another one, without a pause.
fn ask(device: &Device, from: usize, names: usize) {
    for name in from..from + names {
        assert!(!device.path(format!("nobody-{name}")).exists());
    }
}

/// The processors of this machine that we may use.
fn processors() -> Vec<usize> {
    let ours = sched_getaffinity(None).expect("we run");
    (0..CpuSet::MAX_CPU)
        .filter(|processor| ours.is_set(*processor))
        .collect()
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}

/// Does this on one processor.
fn on<T: Send>(processor: usize, what: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            sched_setaffinity(None, &only(processor)).expect("one of ours");
            what()
        });
        there.join().expect("it went well")
    })
}

#[test]
fn fuse_threads_follow_a_busy_caller_to_its_cpu_and_are_released_afterwards() {
    let installation = Installation::new();
    let device = installation.device(&installation.user("anna"), "laptop");
    let anywhere = places(&device);
    assert!(!anywhere.is_empty(), "the threads are found by their names");
    let mut asked = 0;

    for processor in processors() {
        on(processor, || {
            eventually(SOON, "whoever answers is where the program is", || {
                ask(&device, asked, 256);
                asked += 256;
                places(&device)
                    .iter()
                    .all(|place| *place == only(processor))
            });
        });
    }

    eventually(SOON, "a single question after a while frees them", || {
        ask(&device, asked, 1);
        asked += 1;
        places(&device) == anywhere
    });
}

#[test]
fn fuse_threads_stay_on_the_cpus_that_the_client_was_confined_to() {
    let installation = Installation::new();
    let anna = installation.user("anna");
    let all = processors();
    let (kept, other) = (all[0], all[all.len() - 1]);
    let device = on(kept, || installation.device(&anna, "laptop"));
    let confined = places(&device);
    assert!(
        confined.iter().all(|place| *place == only(kept)),
        "{confined:?}"
    );

    on(other, || ask(&device, 0, 2_000));

    assert_eq!(places(&device), confined);
}
