//! Whole updates on a graphics card, by cell, width, batch, length and ensemble:
//! `cargo bench -p nullcline-gpu`. Without a card there is nothing to measure, and it says so: a software
//! driver's times mean nothing.

use divan::Bencher;
use divan::counter::ItemsCount;
use nullcline_gpu::{GpuEngine, Request};
use nullcline_models::workload::{Size, Workload};

fn main() {
    match GpuEngine::open(Request::Best) {
        Ok(_) => divan::main(),
        Err(error) => println!("nothing is measured: {error}"),
    }
}

/// Counts updates of single networks; twenty are made at a time, as in training.
fn updates(
    bencher: Bencher,
    cell: &str,
    hidden: usize,
    batch: usize,
    steps: usize,
    networks: usize,
) {
    const AT_A_TIME: u64 = 20;
    let mut work = Workload::new(&Size {
        cell: cell.to_owned(),
        hidden,
        batch,
        steps,
        networks,
        reconstruction: None,
    })
    .expect("a size that the cell can have");
    let mut engine = GpuEngine::open(Request::Best).expect("the card that `main` has opened");
    bencher
        .counter(ItemsCount::new(networks * AT_A_TIME as usize))
        .bench_local(|| work.advance(&mut engine, AT_A_TIME));
}

#[divan::bench(args = ["vanilla", "leaky", "gru", "lstm", "shallow_plrnn"], sample_count = 10)]
fn by_cell(bencher: Bencher, cell: &str) {
    updates(bencher, cell, 64, 64, 100, 100);
}

#[divan::bench(args = [16, 64, 128, 256, 512], sample_count = 5)]
fn by_width(bencher: Bencher, hidden: usize) {
    updates(bencher, "leaky", hidden, 64, 100, 100);
}

#[divan::bench(args = [16, 64, 256], sample_count = 5)]
fn by_batch(bencher: Bencher, batch: usize) {
    updates(bencher, "leaky", 64, batch, 100, 100);
}

#[divan::bench(args = [10, 100, 500], sample_count = 5)]
fn by_length(bencher: Bencher, steps: usize) {
    updates(bencher, "leaky", 64, 64, steps, 100);
}

#[divan::bench(args = [1, 10, 100, 1000], sample_count = 5)]
fn by_ensemble(bencher: Bencher, networks: usize) {
    updates(bencher, "leaky", 64, 64, 100, networks);
}
