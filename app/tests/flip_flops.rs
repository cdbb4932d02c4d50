//! Flip-flops of one to five bits have 3^bits fixed points, each of them proved; the long suite repeats it over ten
//! seeds.

use nullcline::devices::Devices;
use nullcline::examples::example;
use nullcline::results::Results;
use nullcline::session::{self, Control};
use nullcline_data::settings::Value;
use nullcline_models::engine::CpuEngine;

#[test]
fn every_bit_makes_three_times_as_many_fixed_points() {
    for (bits, by_unstable) in [
        (1, vec![2, 1]),
        (2, vec![4, 4, 1]),
        (4, vec![16, 32, 24, 8, 1]),
        (5, vec![32, 80, 80, 40, 10, 1]),
    ] {
        let mut experiment = example("flip_flop").unwrap().experiment().unwrap();
        experiment.task.set("bits", Value::Integer(bits)).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let control = Control::default();
        let folder = session::prepare(scratch.path(), &experiment).unwrap();
        let devices = Devices::parse("cpu").unwrap();
        session::train(&folder, &experiment, &devices, &[], &control, &mut |_| {}).unwrap();
        session::analyze(
            &folder,
            &experiment,
            &mut CpuEngine::new(),
            &["fixed_points".to_owned()],
            &control,
            &mut |_| {},
        )
        .unwrap();
        let results = Results::load(&folder).unwrap();
        let table = results.table("fixed_points").unwrap();
        let verdicts = table.text_column("verdict").unwrap();
        let unstable = table.f64_column("n_unstable").unwrap();
        let indices = table.f64_column("index").unwrap();
        // Of every proved point there is a radius, of others none.
        let radii = table.f64_column("existence_radius").unwrap();
        let mut counts = vec![0; by_unstable.len()];
        let mut index_sum = 0.0;
        for row in (0..verdicts.len()).filter(|&row| verdicts[row] == Some("fixed")) {
            counts[unstable[row] as usize] += 1;
            index_sum += indices[row];
            assert!(radii[row].is_finite(), "{bits} bits, row {row}");
        }
        assert_eq!(counts, by_unstable, "{bits} bits");
        assert_eq!(index_sum, 1.0, "{bits} bits");
        let search = results.table("fixed_points_search").unwrap();
        assert_eq!(search.text_column("topology").unwrap(), [Some("complete")]);
    }
}
