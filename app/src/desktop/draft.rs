//! The experiment in the form: its edits, undo and redo, and what is wrong with it.

use crate::experiment::Experiment;
use nullcline_data::settings::{Document, Key, Kind, Settings, Value};
use std::collections::BTreeMap;

/// A table of the experiment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// `name`, `seed`, `networks`.
    Top,
    /// `[task]`.
    Task,
    /// `[model]`.
    Model,
    /// `[training]`.
    Training,
    /// `[analysis.NAME]`.
    Analysis(&'static str),
    /// `[figures]`.
    Figures,
}

impl Section {
    /// Every table of an experiment, in the order of the file.
    pub fn all(experiment: &Experiment) -> Vec<Section> {
        let mut all = vec![
            Section::Top,
            Section::Task,
            Section::Model,
            Section::Training,
        ];
        all.extend(
            experiment
                .analyses
                .iter()
                .map(|(name, _)| Section::Analysis(name)),
        );
        all.push(Section::Figures);
        all
    }

    /// The settings of this table; `None` for an analysis that the registry lacks.
    pub fn of(self, experiment: &Experiment) -> Option<&Settings> {
        match self {
            Section::Top => Some(&experiment.top),
            Section::Task => Some(&experiment.task),
            Section::Model => Some(&experiment.model),
            Section::Training => Some(&experiment.training),
            Section::Analysis(name) => experiment.analysis(name),
            Section::Figures => Some(&experiment.figures),
        }
    }

    fn of_mut(self, experiment: &mut Experiment) -> Option<&mut Settings> {
        match self {
            Section::Top => Some(&mut experiment.top),
            Section::Task => Some(&mut experiment.task),
            Section::Model => Some(&mut experiment.model),
            Section::Training => Some(&mut experiment.training),
            Section::Analysis(name) => experiment
                .analyses
                .iter_mut()
                .find(|(known, _)| *known == name)
                .map(|(_, settings)| settings),
            Section::Figures => Some(&mut experiment.figures),
        }
    }

    /// The key with its table around it, as error messages and `--set` write it.
    pub fn dotted(self, key: &str) -> String {
        match self {
            Section::Top => key.to_owned(),
            Section::Task => format!("task.{key}"),
            Section::Model => format!("model.{key}"),
            Section::Training => format!("training.{key}"),
            Section::Analysis(name) => format!("analysis.{name}.{key}"),
            Section::Figures => format!("figures.{key}"),
        }
    }
}

/// Most edits that are kept for undo.
const REMEMBERED: usize = 200;

/// An experiment being edited.
#[derive(Clone, Debug)]
pub struct Draft {
    experiment: Experiment,
    past: Vec<Experiment>,
    future: Vec<Experiment>,
    problem: Option<String>,
    /// Texts of fields that are being typed in or hold no allowed value, by table and key, with what is
    /// wrong with them.
    unfinished: BTreeMap<(Section, &'static str), (String, Option<String>)>,
}

impl Draft {
    /// Begins to edit an experiment.
    pub fn new(experiment: Experiment) -> Draft {
        let mut draft = Draft {
            experiment,
            past: Vec::new(),
            future: Vec::new(),
            problem: None,
            unfinished: BTreeMap::new(),
        };
        draft.check();
        draft
    }

    /// The experiment as it is now.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// What an experiment file with these values would be refused for, if anything.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether it can be run: nothing is wrong, nothing half typed.
    pub fn is_sound(&self) -> bool {
        self.problem.is_none() && self.unfinished.values().all(|(_, fault)| fault.is_none())
    }

    /// Whether there is an edit to undo.
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is an edit to redo.
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// Undoes the last edit.
    pub fn undo(&mut self) {
        if let Some(before) = self.past.pop() {
            self.future
                .push(std::mem::replace(&mut self.experiment, before));
            self.unfinished.clear();
            self.check();
        }
    }

    /// Redoes the edit that was undone last.
    pub fn redo(&mut self) {
        if let Some(after) = self.future.pop() {
            self.past
                .push(std::mem::replace(&mut self.experiment, after));
            self.unfinished.clear();
            self.check();
        }
    }

    /// Gives a key a value, or its default for `None`. `task.kind` and `model.kind` bring the keys of the
    /// new kind; values that were changed and that the new kind knows too are kept.
    ///
    /// # Errors
    /// If the key does not allow the value; nothing is then changed.
    pub fn edit(
        &mut self,
        section: Section,
        key: &'static str,
        value: Option<Value>,
    ) -> nullcline_data::Result<()> {
        self.unfinished.remove(&(section, key));
        let mut after = self.experiment.clone();
        match (section, key, value) {
            (Section::Task, "kind", Some(Value::Text(task))) => {
                after = self.with_kinds(&task, self.experiment.model.text("kind"))?;
            }
            (Section::Model, "kind", Some(Value::Text(model))) => {
                after = self.with_kinds(self.experiment.task.text("kind"), &model)?;
            }
            (section, key, value) => {
                let Some(settings) = section.of_mut(&mut after) else {
                    return Ok(());
                };
                match value {
                    Some(value) => settings.set(key, value)?,
                    None if settings.keys().any(|known| known.name == key) => settings.reset(key),
                    None => {}
                }
            }
        }
        if after != self.experiment {
            self.past
                .push(std::mem::replace(&mut self.experiment, after));
            self.future.clear();
            if self.past.len() > REMEMBERED {
                self.past.remove(0);
            }
            self.check();
        }
        Ok(())
    }

    /// The experiment with another task or cell.
    fn with_kinds(&self, task: &str, model: &str) -> nullcline_data::Result<Experiment> {
        let unknown = || {
            nullcline_data::Error::argument(
                "kind",
                format!("\"{task}\" and \"{model}\""),
                "a task and a cell",
            )
        };
        let mut after = Experiment::defaults(task, model).ok_or_else(unknown)?;
        for section in Section::all(&self.experiment) {
            let (Some(old), Some(new)) = (section.of(&self.experiment), section.of_mut(&mut after))
            else {
                continue;
            };
            let is_kind =
                |key: &Key| key.name == "kind" && matches!(section, Section::Task | Section::Model);
            for (key, value) in old.iter().filter(|(key, _)| !is_kind(key)) {
                if let Some(value) =
                    value.filter(|value| key.default.value().as_ref() != Some(*value))
                {
                    // Keys that the new kind lacks, or values that it does not allow, are left behind.
                    let _ = new.set(key.name, value.clone());
                }
            }
        }
        Ok(after)
    }

    /// The text that a field shows: what is being typed, or the value.
    pub fn text(&self, section: Section, key: &'static Key) -> String {
        match self.unfinished.get(&(section, key.name)) {
            Some((text, _)) => text.clone(),
            None => section
                .of(&self.experiment)
                .and_then(|settings| settings.iter().find(|(known, _)| known.name == key.name))
                .and_then(|(_, value)| value)
                .map(write)
                .unwrap_or_default(),
        }
    }

    /// Takes the text of a field while it is typed.
    pub fn type_text(&mut self, section: Section, key: &'static Key, text: String) {
        let fault = read(key, &text).err();
        self.unfinished.insert((section, key.name), (text, fault));
    }

    /// What is wrong with the text of a field.
    pub fn fault(&self, section: Section, key: &'static Key) -> Option<&str> {
        self.unfinished.get(&(section, key.name))?.1.as_deref()
    }

    /// The text of a field that has been typed in and can be taken; `None` inside for unset.
    pub fn finished(&self, section: Section, key: &'static Key) -> Option<Option<Value>> {
        let (text, _) = self.unfinished.get(&(section, key.name))?;
        read(key, text).ok()
    }

    /// Gives up what was typed in a field.
    pub fn forget(&mut self, section: Section, key: &'static Key) {
        self.unfinished.remove(&(section, key.name));
    }

    fn check(&mut self) {
        self.problem = Document::parse("experiment", &self.experiment.to_toml(false))
            .and_then(|document| Experiment::from_document(&document))
            .err()
            .map(|error| error.to_string());
    }
}

/// A value as its field shows it: texts without quotation marks, lists without brackets.
fn write(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Texts(texts) => texts.join(", "),
        Value::Number(number) => {
            let text = value.to_toml();
            // 64.0 is shown as 64: in a field of numbers both mean the same.
            if number.fract() == 0.0 {
                text.trim_end_matches(".0").to_owned()
            } else {
                text
            }
        }
        Value::Integers(_) | Value::Numbers(_) => {
            value.to_toml().trim_matches(['[', ']']).to_owned()
        }
        Value::Integer(_) | Value::Flag(_) => value.to_toml(),
    }
}

/// The reverse of [`write`], checked; nothing typed means unset where a key may be unset.
fn read(key: &'static Key, text: &str) -> Result<Option<Value>, String> {
    let text = text.trim();
    let refuse = || format!("allowed: {}", key.kind.allowed());
    let items = || {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
    };
    let may_be_unset = key.default.value().is_none();
    if text.is_empty() && may_be_unset {
        return Ok(None);
    }
    let value = match key.kind {
        Kind::Integer { .. } => Value::Integer(text.parse().map_err(|_| refuse())?),
        Kind::Number { .. } => Value::Number(text.parse().map_err(|_| refuse())?),
        Kind::Flag => Value::Flag(text.parse().map_err(|_| refuse())?),
        Kind::Text | Kind::Path | Kind::Choice(_) => Value::Text(text.to_owned()),
        Kind::Integers { .. } => Value::Integers(
            items()
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| refuse())?,
        ),
        Kind::Numbers { .. } => Value::Numbers(
            items()
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| refuse())?,
        ),
        Kind::Texts | Kind::TextOrTexts => Value::Texts(items().map(str::to_owned).collect()),
    };
    let mut checked = Settings::from_defaults("", &[std::slice::from_ref(key)]);
    checked.set(key.name, value).map_err(|_| refuse())?;
    Ok(checked.value(key.name).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft::new(Experiment::defaults("flip_flop", "leaky").unwrap())
    }

    fn key(draft: &Draft, section: Section, name: &str) -> &'static Key {
        section
            .of(draft.experiment())
            .unwrap()
            .keys()
            .find(|key| key.name == name)
            .unwrap()
    }

    #[test]
    fn edits_are_undone_and_redone_in_order() {
        let mut draft = draft();
        let original = draft.experiment().clone();
        draft
            .edit(Section::Training, "updates", Some(Value::Integer(10)))
            .unwrap();
        draft
            .edit(Section::Top, "seed", Some(Value::Integer(7)))
            .unwrap();
        let edited = draft.experiment().clone();
        assert_eq!((edited.training.integer("updates"), edited.seed()), (10, 7));
        draft.undo();
        assert_eq!(draft.experiment().seed(), original.seed());
        draft.undo();
        assert_eq!(*draft.experiment(), original);
        assert!(!draft.can_undo());
        draft.redo();
        draft.redo();
        assert_eq!(*draft.experiment(), edited);
        assert!(!draft.can_redo());
        // A value that is already there is no edit.
        draft
            .edit(Section::Top, "seed", Some(Value::Integer(7)))
            .unwrap();
        draft.undo();
        assert_eq!(draft.experiment().seed(), original.seed());
        // An edit after undo ends what could be redone.
        draft
            .edit(Section::Top, "seed", Some(Value::Integer(8)))
            .unwrap();
        assert!(!draft.can_redo());
    }

    #[test]
    fn values_that_are_not_allowed_change_nothing_and_say_so() {
        let mut draft = draft();
        let before = draft.experiment().clone();
        assert!(
            draft
                .edit(Section::Training, "updates", Some(Value::Integer(-1)))
                .is_err()
        );
        assert_eq!(*draft.experiment(), before);
        let updates = key(&draft, Section::Training, "updates");
        for text in ["-1", "1.5", "many", ""] {
            draft.type_text(Section::Training, updates, text.into());
            assert!(
                draft
                    .fault(Section::Training, updates)
                    .unwrap()
                    .contains("an integer"),
                "{text}"
            );
            assert!(!draft.is_sound());
            assert_eq!(draft.finished(Section::Training, updates), None);
        }
        draft.type_text(Section::Training, updates, "12".into());
        assert!(draft.is_sound());
        assert_eq!(
            draft.finished(Section::Training, updates),
            Some(Some(Value::Integer(12)))
        );
        draft.forget(Section::Training, updates);
        assert!(draft.is_sound());
    }

    #[test]
    fn what_only_a_whole_file_shows_to_be_wrong_is_shown() {
        let mut draft = draft();
        assert!(draft.is_sound(), "{:?}", draft.problem());
        draft
            .edit(Section::Top, "name", Some(Value::Text("a/b".into())))
            .unwrap();
        assert!(
            draft.problem().unwrap().contains("it names a folder"),
            "{:?}",
            draft.problem()
        );
        draft.undo();
        assert!(draft.is_sound());
        draft
            .edit(Section::Task, "kind", Some(Value::Text("series".into())))
            .unwrap();
        assert!(
            draft.problem().unwrap().contains("task.file"),
            "{:?}",
            draft.problem()
        );
    }

    #[test]
    fn another_task_or_cell_keeps_what_was_changed() {
        let mut draft = draft();
        draft
            .edit(Section::Training, "updates", Some(Value::Integer(17)))
            .unwrap();
        draft
            .edit(Section::Top, "seed", Some(Value::Integer(5)))
            .unwrap();
        draft
            .edit(Section::Model, "kind", Some(Value::Text("gru".into())))
            .unwrap();
        let experiment = draft.experiment();
        assert_eq!(experiment.model.text("kind"), "gru");
        assert_eq!(experiment.task.text("kind"), "flip_flop");
        assert_eq!(experiment.training.integer("updates"), 17);
        assert_eq!(experiment.seed(), 5);
        assert!(
            draft
                .edit(Section::Model, "kind", Some(Value::Text("none".into())))
                .is_err()
        );
    }

    #[test]
    fn every_value_of_every_default_survives_its_field() {
        for task in nullcline_tasks::TASKS {
            for model in nullcline_models::registry::MODELS {
                let experiment = Experiment::defaults(task.name, model.name).unwrap();
                for section in Section::all(&experiment) {
                    for (key, value) in section.of(&experiment).unwrap().iter() {
                        let Some(value) = value else { continue };
                        assert_eq!(
                            read(key, &write(value)).as_ref(),
                            Ok(&Some(value.clone())),
                            "{}",
                            key.name
                        );
                    }
                }
            }
        }
    }
}
