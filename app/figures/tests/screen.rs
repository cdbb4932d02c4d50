//! The screen painter without a screen: egui runs headless and is given made-up input.

use egui::{Event, Modifiers, MouseWheelUnit, PointerButton, Pos2, Rect, TouchPhase, Vec2};
use nullcline_figures::figure::{Axis, Figure, Panel, Plane, Role, Series, Space};
use nullcline_figures::screen::{FigureView, Response, install_fonts};

const WINDOW: Vec2 = Vec2::new(700.0, 500.0);

struct Desk {
    context: egui::Context,
    view: FigureView,
    time: f64,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            context: egui::Context::default(),
            view: FigureView::new(),
            time: 0.0,
        };
        install_fonts(&desk.context, egui::FontDefinitions::default());
        desk
    }

    fn frame(&mut self, figure: &Figure, events: Vec<Event>) -> (Response, egui::FullOutput) {
        self.time += 0.05;
        let input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, WINDOW)),
            time: Some(self.time),
            events,
            ..egui::RawInput::default()
        };
        let mut response = Response::default();
        let view = &mut self.view;
        let mut output = self
            .context
            .run_ui(input, |ui| response = view.show(ui, figure, Some(1)));
        // Nothing is rendered, so that textures are not needed.
        output.textures_delta.clear();
        (response, output)
    }

    fn drawn(&mut self, figure: &Figure) -> String {
        let (_, output) = self.frame(figure, Vec::new());
        format!(
            "{:?}",
            output.shapes.iter().map(|s| &s.shape).collect::<Vec<_>>()
        )
    }

    fn drag(&mut self, figure: &Figure, from: Pos2, to: Pos2) {
        let button = |pos, pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.frame(figure, vec![Event::PointerMoved(from)]);
        self.frame(figure, vec![button(from, true)]);
        self.frame(figure, vec![Event::PointerMoved(from + (to - from) / 2.0)]);
        self.frame(figure, vec![Event::PointerMoved(to)]);
        self.frame(figure, vec![button(to, false)]);
        self.frame(figure, vec![Event::PointerGone]);
    }

    fn click(&mut self, figure: &Figure, pos: Pos2, times: usize) -> Option<u64> {
        let button = |pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.frame(figure, vec![Event::PointerMoved(pos)]);
        let mut clicked = None;
        for _ in 0..times {
            self.frame(figure, vec![button(true)]);
            clicked = clicked.or(self.frame(figure, vec![button(false)]).0.clicked);
        }
        clicked
    }
}

fn space() -> Figure {
    let axes = [1, 2, 3].map(|k| Axis::new(format!("PC {k}"), "a.u.").range(-1.0, 1.0));
    let orbit: Vec<f64> = (0..200).map(|i| (f64::from(i) * 0.1).sin()).collect();
    let space = Space::new(axes)
        .with(Series::line_3d(
            orbit.clone(),
            orbit.iter().map(|v| v * v - 0.5).collect(),
            orbit,
            Role::Trajectory,
        ))
        .with(Series::points_3d(vec![0.0], vec![0.0], vec![0.0], Role::Stable).ids(vec![17]));
    Figure::new("space").panel(Panel::space(space))
}

fn plane() -> Figure {
    let row = || {
        Plane::new(
            Axis::new("Time", "s").range(0.0, 1.0),
            Axis::new("Rate", "1/s").range(0.0, 1.0),
        )
        .with(Series::points(vec![0.5], vec![0.5], Role::Unstable).ids(vec![3]))
        .with(Series::band(
            vec![0.0, 1.0],
            vec![0.0, 0.2],
            vec![0.4, 0.5],
            Role::Category(0),
        ))
    };
    Figure::new("plane")
        .panel(Panel::plane(row().shares_x()))
        .panel(Panel::plane(row()))
}

/// Centre of the first point with this id, found by sweeping the pointer.
fn find(desk: &mut Desk, figure: &Figure, id: u64) -> Pos2 {
    for y in (0..500).step_by(10) {
        for x in (0..700).step_by(10) {
            let at = Pos2::new(x as f32, y as f32);
            if desk.frame(figure, vec![Event::PointerMoved(at)]).0.hovered == Some(id) {
                return at;
            }
        }
    }
    panic!("point {id} cannot be found");
}

#[test]
fn points_can_be_hovered_and_clicked() {
    for (figure, id) in [(space(), 17), (plane(), 3)] {
        let mut desk = Desk::new();
        let at = find(&mut desk, &figure, id);
        assert_eq!(desk.click(&figure, at, 1), Some(id));
        assert_eq!(desk.click(&figure, Pos2::new(5.0, 495.0), 1), None);
    }
}

#[test]
fn dragging_changes_the_view_and_a_double_click_resets_it() {
    for figure in [space(), plane()] {
        let mut desk = Desk::new();
        desk.frame(&figure, Vec::new());
        let before = desk.drawn(&figure);
        desk.drag(&figure, Pos2::new(400.0, 150.0), Pos2::new(460.0, 190.0));
        assert_ne!(desk.drawn(&figure), before, "{}", figure.name);
        desk.time += 5.0;
        desk.click(&figure, Pos2::new(500.0, 100.0), 2);
        desk.frame(&figure, vec![Event::PointerGone]);
        assert_eq!(desk.drawn(&figure), before, "{}", figure.name);
    }
}

#[test]
fn the_wheel_zooms() {
    for figure in [space(), plane()] {
        let mut desk = Desk::new();
        desk.frame(&figure, Vec::new());
        let before = desk.drawn(&figure);
        desk.frame(&figure, vec![Event::PointerMoved(Pos2::new(400.0, 150.0))]);
        desk.frame(
            &figure,
            vec![Event::MouseWheel {
                unit: MouseWheelUnit::Point,
                delta: Vec2::new(0.0, 60.0),
                phase: TouchPhase::Move,
                source: egui::MouseWheelSource::Unknown,
                modifiers: Modifiers::NONE,
            }],
        );
        for _ in 0..10 {
            desk.frame(&figure, Vec::new());
        }
        desk.frame(&figure, vec![Event::PointerGone]);
        assert_ne!(desk.drawn(&figure), before, "{}", figure.name);
        desk.view.reset();
        assert_eq!(desk.drawn(&figure), before, "{}", figure.name);
    }
}

#[test]
fn it_works_without_its_fonts_and_says_what_is_wrong() {
    let mut desk = Desk {
        context: egui::Context::default(),
        view: FigureView::new(),
        time: 0.0,
    };
    desk.frame(&plane(), Vec::new());
    let bad = Figure::new("bad").columns(0);
    assert!(desk.drawn(&bad).contains("0 columns"));
}

#[test]
fn any_window_size_is_survived() {
    for size in [
        Vec2::ZERO,
        Vec2::splat(1.0),
        Vec2::new(60.0, 900.0),
        Vec2::new(3000.0, 20.0),
    ] {
        for figure in [space(), plane()] {
            let mut desk = Desk::new();
            let input = egui::RawInput {
                screen_rect: Some(Rect::from_min_size(Pos2::ZERO, size)),
                ..egui::RawInput::default()
            };
            let view = &mut desk.view;
            let mut output = desk.context.run_ui(input, |ui| {
                view.show(ui, &figure, None);
            });
            output.textures_delta.clear();
        }
    }
}
