//! Where the threads that answer the kernel run: on the processor of the program that asks, while
//! it asks much.

use std::fs;
use std::thread;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::device::Device;
use crate::house::House;
use crate::waiting::{SOON, eventually};

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
fn who_asks_much_is_answered_on_its_own_processor_and_afterwards_answers_come_from_anywhere() {
    let house = House::new();
    let device = house.device(&house.person("anna"), "laptop");
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
fn who_was_confined_to_some_processors_stays_there() {
    let house = House::new();
    let anna = house.person("anna");
    let all = processors();
    let (kept, other) = (all[0], all[all.len() - 1]);
    let device = on(kept, || house.device(&anna, "laptop"));
    let confined = places(&device);
    assert!(
        confined.iter().all(|place| *place == only(kept)),
        "{confined:?}"
    );

    on(other, || ask(&device, 0, 2_000));

    assert_eq!(places(&device), confined);
}
