//! probe CELL N STEPS NETWORKS [quads rows] ...
use nullcline_gpu::{GpuEngine, Request, Restriction};
use nullcline_models::engine::Engine;
use nullcline_models::workload::{Size, Workload};
use std::time::Instant;

fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let n = |k: usize| a[k].parse::<usize>().unwrap();
    let open = |r| GpuEngine::open(r);
    let mut gpu = open(Request::Best).or_else(|_| open(Request::Named("llvm"))).unwrap();
    if a.len() > 5 {
        gpu.restrict(Restriction { tiles: Some((n(4), n(5), n(6), n(7))), ..Default::default() });
    }
    let networks = n(3);
    let mut work = Workload::new(&Size { cell: a[0].clone(), hidden: n(1), batch: 64, steps: n(2), networks }).unwrap();
    let begun = Instant::now();
    work.advance(&mut gpu, 3).unwrap();
    let first = begun.elapsed().as_secs_f64();
    let seconds: f64 = std::env::var("SECONDS_EACH").map_or(0.3, |s| s.parse().unwrap());
    let begun = Instant::now();
    work.advance(&mut gpu, 4).unwrap();
    let each = begun.elapsed().as_secs_f64() / 4.0;
    let updates = ((seconds / each) as u64).clamp(4, 2000);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        work.advance(&mut gpu, updates).unwrap();
        best = best.min(begun.elapsed().as_secs_f64() / updates as f64);
    }
    println!("{} {} units {} steps x{} tiles {:?} on {}: {:.3} ms/update {:.0} nu/s {:.2} TFLOP/s (first {:.2} s, {} updates)", a[0], n(1), n(2), networks,
        a.get(4..8), gpu.name(), best * 1e3, networks as f64 / best, work.operations() / best / 1e12, first, updates);
    if gpu.watch() {
        let updates = (updates / 4).clamp(2, 20);
        let begun = Instant::now();
        work.advance(&mut gpu, updates).unwrap();
        let wall = begun.elapsed().as_secs_f64() / updates as f64;
        let times = gpu.times();
        let total: f64 = times.values().map(|t| t.seconds).sum();
        print!("  watched wall {:.3} ms, kernels {:.3} ms:", wall * 1e3, total / updates as f64 * 1e3);
        for (name, t) in times {
            print!(" {name} {:.4} ({}x)", t.seconds / updates as f64 * 1e3, t.dispatches / updates);
        }
        println!();
    }
}
