//! What is in the files.

use nullcline_figures::export;
use nullcline_figures::figure::{
    Axis, Figure, FigureError, Marks, Panel, Plane, Role, Scale, Series, Space,
};

fn figure() -> Figure {
    let plane = Plane::new(
        Axis::new("Re *λ*", "1/step"),
        Axis::new("Loss_{min} <&>", "mV").scale(Scale::Log),
    )
    .with(Series::line(vec![0.0, 1.0, 2.0], vec![1e-3, 1e-1, 1.0], Role::Output).label("output"))
    .with(
        Series::points(vec![1.0], vec![0.5], Role::Stable)
            .ids(vec![7])
            .label("a, \"b\""),
    );
    Figure::new("known")
        .caption("A caption with <marks> & more.")
        .panel(Panel::plane(plane))
        .lettered()
        .metadata("program", "nullcline 0.1.0")
        .metadata("experiment", "name = \"x < y\"\nseed = 1\n")
}

#[test]
fn svg_has_text_as_text_and_its_metadata() {
    let svg = export::svg(&figure(), 89.0).unwrap();
    assert!(svg.contains("width=\"252.3pt\""), "{}", &svg[..300]);
    assert!(svg.contains("<tspan font-style=\"italic\">λ</tspan>"));
    assert!(svg.contains("<desc>A caption with &lt;marks&gt; &amp; more.</desc>"));
    assert!(svg.contains("key=\"experiment\">name = &quot;x &lt; y&quot;\nseed = 1\n</entry>"));
    assert!(svg.contains("key=\"Software\">Nullcline "));
    assert!(svg.contains(">min</tspan>"));
    assert_eq!(svg.matches("@font-face").count(), 3);
    assert!(svg.len() < 200_000, "{} bytes", svg.len());
}

#[test]
fn svg_is_the_same_every_time() {
    assert_eq!(
        export::svg(&figure(), 120.0).unwrap(),
        export::svg(&figure(), 120.0).unwrap()
    );
}

#[test]
fn pdf_has_its_fonts_and_attachments() {
    let pdf = export::pdf(&figure(), 89.0).unwrap();
    assert!(pdf.starts_with(b"%PDF-1.7"));
    let holds = |needle: &str| pdf.windows(needle.len()).any(|w| w == needle.as_bytes());
    for needle in [
        "LiberationSans",
        "LiberationSans-Italic",
        "LiberationSans-Bold",
        "known.csv",
        "experiment.toml",
        "metadata.json",
        "/EmbeddedFile",
    ] {
        assert!(holds(needle), "{needle}");
    }
    assert!(!holds("/Subtype /Image"), "vectors only");
}

#[test]
fn png_has_its_resolution_and_metadata() {
    let bytes = export::png(&figure(), 89.0, 300.0).unwrap();
    let reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .unwrap();
    let info = reader.info();
    // 89 mm at 300 dots per inch are 1,051 pixels.
    assert_eq!(info.width, 1051);
    let dims = info.pixel_dims.unwrap();
    assert_eq!((dims.xppu, dims.unit), (11811, png::Unit::Meter));
    let text: Vec<(String, String)> = info
        .utf8_text
        .iter()
        .map(|c| (c.keyword.clone(), c.get_text().unwrap()))
        .collect();
    assert!(text.contains(&("experiment".into(), "name = \"x < y\"\nseed = 1\n".into())));
    assert!(text.contains(&(
        "Description".into(),
        "A caption with <marks> & more.".into()
    )));
}

#[test]
fn png_shows_ink_on_white_paper() {
    let bytes = export::png(&figure(), 60.0, 100.0).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert_eq!(&pixels[..3], &[255, 255, 255]);
    let dark = pixels
        .chunks(3)
        .filter(|p| p.iter().all(|&c| c < 100))
        .count();
    assert!(dark > 100 && dark < pixels.len() / 30, "{dark}");
}

#[test]
fn bad_sizes_are_refused() {
    for width in [0.0, -1.0, f64::NAN, f64::INFINITY, 19.0, 5000.0] {
        assert!(
            matches!(
                export::svg(&figure(), width),
                Err(FigureError::Width { .. })
            ),
            "{width}"
        );
    }
    for dpi in [0.0, -300.0, f64::NAN, 1e6] {
        assert!(
            matches!(
                export::png(&figure(), 89.0, dpi),
                Err(FigureError::Painter { .. })
            ),
            "{dpi}"
        );
    }
}

#[test]
fn bad_figures_are_named_with_panel_and_series() {
    let plane = |series: Series| {
        Figure::new("bad").panel(Panel::plane(
            Plane::new(Axis::new("x", "a"), Axis::new("y", "b")).with(series),
        ))
    };
    let line =
        |x: usize, y: usize| Series::line(vec![0.0; x], vec![0.0; y], Role::Input).label("input");
    let error = export::svg(&plane(line(3, 2)), 89.0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "figure \"bad\", panel 1, series 1 (\"input\"): 2 numbers in y; 3 are needed"
    );

    let mut bad = vec![
        Figure::new("empty"),
        plane(line(1, 1)).columns(0),
        plane(Series::points(vec![0.0], vec![0.0], Role::Stable).ids(vec![1, 2])),
        plane(Series::circle((0.0, 0.0), -1.0, Role::Guide)),
        plane(Series::horizontal_rule(f64::NAN, Role::Guide)),
        plane(Series::line_3d(
            vec![0.0],
            vec![0.0],
            vec![0.0],
            Role::Trajectory,
        )),
    ];
    let space = Space::new([1, 2, 3].map(|k| Axis::new(format!("PC {k}"), "a.u.")));
    bad.push(Figure::new("flat").panel(Panel::space(space.clone().with(line(1, 1)))));
    bad.push(Figure::new("rule").panel(Panel::space(
        space.with(Series::horizontal_rule(0.0, Role::Guide)),
    )));
    let mut log = plane(line(1, 1));
    if let nullcline_figures::figure::Content::Plane(p) = &mut log.panels[0].content {
        p.x = Axis::new("x", "a").scale(Scale::Log).range(0.0, 1.0);
    }
    bad.push(log);
    for figure in bad {
        assert!(
            matches!(figure.check(), Err(FigureError::Invalid { .. })),
            "{}",
            figure.name
        );
    }
}

#[test]
fn csv_is_tidy_and_exact() {
    let csv = figure().csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "panel,series,mark,item,id,part,x,y,z,value");
    assert_eq!(lines[1], "a,output,line,0,,,0,0.001,,");
    assert_eq!(lines[4], "a,\"a, \"\"b\"\"\",points,0,7,,1,0.5,,");
    let third = 1.0 / 3.0;
    let plane = Plane::new(Axis::new("x", ""), Axis::new("y", "")).with(Series::line(
        vec![third],
        vec![1e-300],
        Role::Category(2),
    ));
    let csv = Figure::new("exact").panel(Panel::plane(plane)).csv();
    let fields: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(fields[1], "category_2");
    assert_eq!(fields[6].parse::<f64>().unwrap(), third);
    assert_eq!(fields[7].parse::<f64>().unwrap(), 1e-300);
}

#[test]
fn a_figure_survives_json() {
    let mut known = figure();
    if let Some(Series {
        marks: Marks::Line { y, .. },
        ..
    }) = match &mut known.panels[0].content {
        nullcline_figures::figure::Content::Plane(plane) => plane.series.first_mut(),
        _ => None,
    } {
        y[1] = 0.1 + 0.2;
    }
    let text = serde_json::to_string(&known).unwrap();
    assert_eq!(serde_json::from_str::<Figure>(&text).unwrap(), known);
}

#[test]
fn missing_numbers_survive_json() {
    let axes = [1, 2, 3].map(|k| Axis::new(format!("PC {k}"), "a.u."));
    let gap = || vec![0.0, f64::NAN, 2.0];
    let space = Space::new(axes)
        .with(Series::line_3d(gap(), gap(), gap(), Role::Trajectory))
        .with(Series::segments_3d(
            vec![[0.0, f64::INFINITY, 1.0]],
            vec![[1.0; 3]],
            Role::UnstableMode,
        ));
    let figure = Figure::new("gap").panel(Panel::space(space));
    let text = serde_json::to_string(&figure).unwrap();
    let read: Figure = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert!(read.csv().contains("1,trajectory,line,1,,,NaN,NaN,NaN,"));
}
