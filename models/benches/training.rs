//! Whole updates on the CPU, by cell, width, batch, length, ensemble and instruction set:
//! `cargo bench -p nullcline-models`. Compare ratios within a run; machines are noisy.

use divan::Bencher;
use divan::counter::ItemsCount;
use nullcline_models::engine::CpuEngine;
use nullcline_models::simd::Instructions;
use nullcline_models::workload::{Reconstruction, Size, Workload};

fn main() {
    divan::main();
}

/// Counts updates of single networks.
fn updates(bencher: Bencher, size: Size, instructions: Instructions) {
    let mut work = Workload::new(&size).expect("a size that the cell can have");
    let mut engine = CpuEngine::with_instructions(instructions);
    bencher
        .counter(ItemsCount::new(size.networks))
        .bench_local(|| work.advance(&mut engine, 1));
}

fn size(cell: &str, hidden: usize, batch: usize, steps: usize, networks: usize) -> Size {
    Size {
        cell: cell.to_owned(),
        hidden,
        batch,
        steps,
        networks,
        reconstruction: None,
    }
}

/// Latent units, hidden units, dimensions of the series, steps: Lorenz-63, electrocardiogram and
/// electroencephalogram as Hess et al. (2023) reconstruct them, batch 16. The observation is learned too.
#[divan::bench(args = [(3, 50, 3, 200), (5, 250, 5, 200), (16, 512, 64, 50)])]
fn by_reconstruction(bencher: Bencher, sizes: (usize, usize, usize, usize)) {
    let (units, hidden, outputs, steps) = sizes;
    let size = Size {
        reconstruction: Some(Reconstruction {
            units,
            outputs,
            observation: "affine",
        }),
        ..size("shallow_plrnn", hidden, 16, steps, 1)
    };
    updates(bencher, size, Instructions::detect());
}

#[divan::bench(args = ["vanilla", "leaky", "gru", "lstm", "shallow_plrnn"])]
fn by_cell(bencher: Bencher, cell: &str) {
    updates(bencher, size(cell, 64, 64, 100, 1), Instructions::detect());
}

#[divan::bench(args = [16, 32, 64, 128, 256, 512], sample_count = 10)]
fn by_width(bencher: Bencher, hidden: usize) {
    updates(
        bencher,
        size("leaky", hidden, 64, 100, 1),
        Instructions::detect(),
    );
}

#[divan::bench(args = [1, 16, 64, 256], sample_count = 20)]
fn by_batch(bencher: Bencher, batch: usize) {
    updates(
        bencher,
        size("leaky", 64, batch, 100, 1),
        Instructions::detect(),
    );
}

#[divan::bench(args = [10, 100, 500], sample_count = 20)]
fn by_length(bencher: Bencher, steps: usize) {
    updates(
        bencher,
        size("leaky", 64, 64, steps, 1),
        Instructions::detect(),
    );
}

#[divan::bench(args = [1, 8, 32, 128], sample_count = 5)]
fn by_ensemble(bencher: Bencher, networks: usize) {
    updates(
        bencher,
        size("leaky", 64, 64, 100, networks),
        Instructions::detect(),
    );
}

#[divan::bench(args = [1, 32, 128], sample_count = 10)]
fn by_ensemble_of_16_units(bencher: Bencher, networks: usize) {
    updates(
        bencher,
        size("leaky", 16, 64, 100, networks),
        Instructions::detect(),
    );
}

#[divan::bench(args = Instructions::available())]
fn by_instructions(bencher: Bencher, instructions: &Instructions) {
    updates(bencher, size("leaky", 64, 64, 100, 1), *instructions);
}
