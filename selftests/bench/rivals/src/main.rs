// SPDX-License-Identifier: GPL-2.0-only
//! Parties of the comparison that are Rust crates: iceoryx2 between two processes, the
//! triple_buffer crate between two threads, each as its documentation shows. What they say
//! to the conductor, and the cases, are those of ../party.h.
//!
//!     rivals iceoryx2|triple_buffer CPU CPU BYTES

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;

const NAP: u64 = 40_000; // ns in which the other side falls asleep
const PERIOD: u64 = 100_000; // ns between two looks of a slow consumer
const LAST: u64 = 1; // a value that is no time: the round is over

fn now() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

fn pin(cpu: usize) {
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set), 0);
    }
}

fn until(deadline: u64) {
    while now() < deadline {}
}

/// One side: its way out and its way in.
trait Side {
    fn send(&mut self, value: u64);
    fn take(&mut self) -> Option<u64>;
    /// None: it cannot sleep.
    fn wait(&mut self) -> Option<u64> {
        None
    }
    /// From here on who sends wakes who sleeps, or need not.
    fn sleepers(&mut self, _there_are: bool) {}
    fn can_sleep(&self) -> bool {
        false
    }
    fn alone(&mut self, _which: &str, _count: u64) -> Option<u64> {
        None
    }
}

fn take<S: Side>(side: &mut S) -> u64 {
    loop {
        if let Some(value) = side.take() {
            return value;
        }
    }
}

fn ask<S: Side>(side: &mut S, which: &str, count: u64) -> (u64, Vec<u64>) {
    let mut each = Vec::new();
    side.sleepers(which == "asleep" || which == "turns");
    side.send(LAST + 1); // not counted: the other side has to hear of the round first
    if which == "turns" {
        side.wait();
    } else {
        take(side);
    }
    let start = now();
    let mut before = start;
    for i in 0..count {
        match which {
            "asleep" => {
                until(now() + NAP);
                side.send(now());
                take(side);
            }
            "turns" => {
                side.send(i + 2);
                side.wait();
            }
            "slow" => side.send(now()),
            _ => {
                side.send(i + 2);
                take(side);
                if which == "each" {
                    let after = now();
                    each.push(after - before);
                    before = after;
                }
            }
        }
    }
    let total = now() - start;
    if which == "slow" {
        side.send(LAST);
    }
    (total, each)
}

fn answer<S: Side>(side: &mut S, which: &str, count: u64) -> Vec<u64> {
    let sleeps = which == "asleep" || which == "turns";
    let mut each = Vec::new();
    side.sleepers(which == "turns"); // who asked "asleep" spins for its answer
    let first = if sleeps { side.wait().unwrap() } else { take(side) };
    side.send(first);
    if which == "slow" {
        let mut next = now();
        loop {
            until(next);
            next = now() + PERIOD;
            match side.take() {
                Some(LAST) => return each,
                Some(value) => each.push(now() - value),
                None => {}
            }
        }
    }
    for _ in 0..count {
        let value = if sleeps { side.wait().unwrap() } else { take(side) };
        if which == "asleep" {
            each.push(now() - value);
        }
        side.send(value);
    }
    each
}

fn order(line: &str) -> (String, u64) {
    let mut words = line.split_whitespace();
    (words.next().unwrap().into(), words.next().unwrap().parse().unwrap())
}

fn text(numbers: &[u64]) -> String {
    numbers.iter().map(|n| format!(" {n}")).collect()
}

fn two_can<S: Side>(side: &S, which: &str) -> bool {
    match which {
        "spin" | "each" | "slow" => true,
        "asleep" | "turns" => side.can_sleep(),
        _ => false,
    }
}

/// Rounds as they are told to on standard input; `tell` and `hear` speak to the other side.
fn first<S: Side>(mut side: S, mut tell: impl FnMut(&str), mut hear: impl FnMut() -> String) {
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let (which, count) = order(&line);
        if two_can(&side, &which) {
            tell(&line);
            let (total, each) = ask(&mut side, &which, count);
            println!("{total}{}{}", text(&each), hear());
        } else {
            match side.alone(&which, count) {
                Some(total) => println!("{total}"),
                None => println!("no"),
            }
        }
    }
}

// ---- the triple_buffer crate, between two threads ----

struct TripleBuffer {
    output: triple_buffer::Input<u64>,
    input: triple_buffer::Output<u64>,
    own: (triple_buffer::Input<u64>, triple_buffer::Output<u64>),
}

impl Side for TripleBuffer {
    #[inline(always)]
    fn send(&mut self, value: u64) {
        self.output.write(value);
    }
    #[inline(always)]
    fn take(&mut self) -> Option<u64> {
        self.input.update().then(|| *self.input.peek_output_buffer())
    }
    fn alone(&mut self, which: &str, count: u64) -> Option<u64> {
        let (input, output) = (&mut self.own.0, &mut self.own.1);
        let start = now();
        match which {
            "publish" => (0..count).for_each(|i| input.write(i)),
            "both" => (0..count).for_each(|i| {
                input.write(i);
                std::hint::black_box(output.read());
            }),
            "nothing" => (0..count).for_each(|_| {
                std::hint::black_box(output.read());
            }),
            _ => return None,
        }
        Some(now() - start)
    }
}

fn triple_buffer_side(
    output: triple_buffer::Input<u64>,
    input: triple_buffer::Output<u64>,
) -> TripleBuffer {
    TripleBuffer { output, input, own: triple_buffer::triple_buffer(&0) }
}

fn triple_buffer_party(cpus: [usize; 2]) {
    let (there_in, there_out) = triple_buffer::triple_buffer(&0u64);
    let (back_in, back_out) = triple_buffer::triple_buffer(&0u64);
    let (orders, told) = mpsc::channel::<String>();
    let (answers, heard) = mpsc::channel::<String>();
    let other = std::thread::spawn(move || {
        pin(cpus[1]);
        let mut side = triple_buffer_side(back_in, there_out);
        while let Ok(line) = told.recv() {
            let (which, count) = order(&line);
            answers.send(text(&answer(&mut side, &which, count))).unwrap();
        }
    });
    pin(cpus[0]);
    let orders_too = orders.clone();
    first(
        triple_buffer_side(there_in, back_out),
        move |line| orders_too.send(line.into()).unwrap(),
        || heard.recv().unwrap(),
    );
    drop(orders);
    let _ = other.join();
}

// ---- iceoryx2, between two processes ----

use iceoryx2::prelude::*;

type Publisher = iceoryx2::port::publisher::Publisher<ipc::Service, [u8], ()>;
type Subscriber = iceoryx2::port::subscriber::Subscriber<ipc::Service, [u8], ()>;
type Notifier = iceoryx2::port::notifier::Notifier<ipc::Service>;
type Listener = iceoryx2::port::listener::Listener<ipc::Service>;

struct Iceoryx2 {
    publisher: Publisher,
    subscriber: Subscriber,
    notifier: Notifier,
    listener: Listener,
    own: Option<(Publisher, Subscriber)>,
    bytes: usize,
    wakes: bool,
    _node: Node<ipc::Service>,
}

fn newest_only(
    node: &Node<ipc::Service>,
    name: &str,
) -> iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()> {
    node.service_builder(&name.try_into().unwrap())
        .publish_subscribe::<[u8]>()
        .payload_alignment(Alignment::new(8).unwrap())
        .enable_safe_overflow(true)
        .subscriber_max_buffer_size(1)
        .history_size(0)
        .open_or_create()
        .unwrap()
}

fn publisher(node: &Node<ipc::Service>, name: &str, bytes: usize) -> Publisher {
    newest_only(node, name).publisher_builder().initial_max_slice_len(bytes).create().unwrap()
}

fn subscriber(node: &Node<ipc::Service>, name: &str) -> Subscriber {
    newest_only(node, name).subscriber_builder().create().unwrap()
}

fn event(
    node: &Node<ipc::Service>,
    name: &str,
) -> iceoryx2::service::port_factory::event::PortFactory<ipc::Service> {
    node.service_builder(&name.try_into().unwrap()).event().open_or_create().unwrap()
}

#[inline(always)]
fn put(publisher: &Publisher, bytes: usize, value: u64) {
    let mut sample = publisher.loan_slice_uninit(bytes).unwrap();
    // Handed over, not filled: one line of it is written, as by the other parties.
    unsafe { (sample.payload_mut().as_mut_ptr() as *mut u64).write(value) };
    unsafe { sample.assume_init() }.send().unwrap();
}

#[inline(always)]
fn get(subscriber: &Subscriber) -> Option<u64> {
    subscriber
        .receive()
        .unwrap()
        .map(|sample| unsafe { (sample.payload().as_ptr() as *const u64).read_volatile() })
}

impl Iceoryx2 {
    fn new(name: &str, is_first: bool, bytes: usize) -> Self {
        let (out, inward) = if is_first { ("there", "back") } else { ("back", "there") };
        // Under names of its own, so that what it leaves can be found and removed.
        let mut config = Config::global_config().clone();
        config.global.prefix = FileName::new(b"tribuf_bench_").unwrap();
        let node = NodeBuilder::new().config(&config).create::<ipc::Service>().unwrap();
        let own = format!("{name}/own");
        Iceoryx2 {
            publisher: publisher(&node, &format!("{name}/{out}"), bytes),
            subscriber: subscriber(&node, &format!("{name}/{inward}")),
            notifier: event(&node, &format!("{name}/{out}")).notifier_builder().create().unwrap(),
            listener: event(&node, &format!("{name}/{inward}")).listener_builder().create().unwrap(),
            own: is_first.then(|| (publisher(&node, &own, bytes), subscriber(&node, &own))),
            bytes,
            wakes: false,
            _node: node,
        }
    }
}

impl Side for Iceoryx2 {
    #[inline(always)]
    fn send(&mut self, value: u64) {
        put(&self.publisher, self.bytes, value);
        if self.wakes {
            self.notifier.notify().unwrap();
        }
    }
    #[inline(always)]
    fn take(&mut self) -> Option<u64> {
        get(&self.subscriber)
    }
    fn sleepers(&mut self, there_are: bool) {
        self.wakes = there_are;
    }
    fn can_sleep(&self) -> bool {
        true
    }
    fn wait(&mut self) -> Option<u64> {
        loop {
            self.listener.blocking_wait(|_| {}).unwrap();
            if let Some(value) = get(&self.subscriber) {
                return Some(value);
            }
        }
    }
    fn alone(&mut self, which: &str, count: u64) -> Option<u64> {
        let (publisher, subscriber) = self.own.as_ref()?;
        let start = now();
        match which {
            "publish" => (0..count).for_each(|i| put(publisher, self.bytes, i)),
            "both" => (0..count).for_each(|i| {
                put(publisher, self.bytes, i);
                std::hint::black_box(get(subscriber));
            }),
            "nothing" => (0..count).for_each(|_| {
                std::hint::black_box(get(subscriber));
            }),
            _ => return None,
        }
        Some(now() - start)
    }
}

fn iceoryx2_party(arguments: &[String], cpus: [usize; 2], bytes: usize) {
    let name = format!("bench-{}", std::process::id());
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(&arguments[1..5])
        .arg(&name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let side = Iceoryx2::new(&name, true, bytes);
    let mut orders = other.stdin.take().unwrap();
    let mut answers = BufReader::new(other.stdout.take().unwrap()).lines();
    assert_eq!(answers.next().unwrap().unwrap(), "there");
    pin(cpus[0]);
    first(side, |line| writeln!(orders, "{line}").unwrap(), || answers.next().unwrap().unwrap());
    drop(orders);
    other.wait().unwrap();
}

fn iceoryx2_other(name: &str, cpu: usize, bytes: usize) {
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut side = Iceoryx2::new(name, false, bytes);
    pin(cpu);
    println!("there");
    for line in io::stdin().lock().lines() {
        let (which, count) = order(&line.unwrap());
        println!("{}", text(&answer(&mut side, &which, count)));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |i: usize| arguments[i].parse::<usize>().unwrap();
    let (cpus, bytes) = ([number(2), number(3)], number(4));
    set_log_level(LogLevel::Error);
    match arguments[1].as_str() {
        "triple_buffer" => triple_buffer_party(cpus),
        _ if arguments.len() > 5 => iceoryx2_other(&arguments[5], cpus[1], bytes),
        _ => iceoryx2_party(&arguments, cpus, bytes),
    }
}
