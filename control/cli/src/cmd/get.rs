//! `nuclio get`: the functions that run here, as a table or a document.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::args::{GetArgs, Global, Origins, OutputForm};
use crate::locate::Surroundings;
use crate::output::{EXIT_FAILED, EXIT_OK, Failure, Mistakes, note, one_line};
use crate::registry::{Entry, Running};
use crate::{admin, interrupt, names, registry};

/// What people may write before names, as with other kinds of things to come.
pub const KINDS: [&str; 4] = ["function", "functions", "func", "fu"];

const COLUMNS: [&str; 5] = ["NAME", "STATE", "URL", "WORKERS", "AGE"];
const COLUMNS_WIDE: [&str; 8] =
    ["NAME", "STATE", "URL", "WORKERS", "AGE", "PID", "RUNTIME", "RESTARTS"];

pub fn get(
    args: &GetArgs,
    global: &Global,
    origins: &Origins,
    around: &Surroundings,
) -> Result<u8, Failure> {
    interrupt::end_with_130();
    let mut mistakes = Mistakes::default();
    let wanted = without_kind(&args.words);
    wanted.iter().for_each(|name| _ = mistakes.keep(names::check("NAME", name)));
    if wanted.len() > 1 {
        mistakes.add(format!("{:?} is one name too many; write one, or none for all", wanted[1]));
    }
    let namespace = global.namespace.as_deref().unwrap_or(names::NAMESPACE_DEFAULT);
    mistakes.keep(names::check(&origins.of("namespace"), namespace));
    if !mistakes.are_none() {
        return Err(mistakes.into_failure());
    }
    let folder = registry::folder(around).map_err(Failure::failed)?;
    let all = registry::names(&folder, namespace);
    let chosen: Vec<&String> =
        all.iter().filter(|name| wanted.first().is_none_or(|wanted| wanted == *name)).collect();
    let mut rows = Vec::new();
    for name in chosen {
        let place = registry::folder_of(&folder, namespace, name);
        let entry = registry::entry(&place).map_err(Failure::failed)?;
        rows.extend(entry.map(|entry| row(&place, namespace, name, &entry)));
    }
    if let (Some(name), true) = (wanted.first(), rows.is_empty()) {
        registry::find(&folder, namespace, name).map_err(Failure::failed)?;
    }
    print(&rows, !wanted.is_empty(), global.output, namespace)?;
    let dead = !wanted.is_empty() && rows.iter().all(|row| row["state"] == "dead");
    Ok(if dead { EXIT_FAILED } else { EXIT_OK })
}

/// The names behind the kind; a function may be called function.
pub fn without_kind(words: &[String]) -> &[String] {
    match words {
        [kind, rest @ ..] if KINDS.contains(&kind.as_str()) => rest,
        _ => words,
    }
}

fn row(folder: &Path, namespace: &str, name: &str, entry: &Entry) -> Value {
    let mut row = json!({
        "name": name, "namespace": namespace, "state": "starting", "pid": entry.pid(),
    });
    match entry {
        Entry::Starting { .. } => {}
        Entry::Dead(running) => {
            add_known(&mut row, running);
            row["state"] = "dead".into();
            registry::clean(folder);
        }
        Entry::Live(running) => {
            add_known(&mut row, running);
            add_figures(&mut row, folder);
        }
    }
    row
}

fn add_known(row: &mut Value, running: &Running) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_millis(running.started_unix_ms));
    row["url"] = running.url.clone().into();
    row["runtime"] = running.runtime.clone().into();
    row["started_unix_ms"] = running.started_unix_ms.into();
    row["age_seconds"] = age.as_secs().into();
}

/// What only the processor itself knows. One that does not answer is named as such.
fn add_figures(row: &mut Value, folder: &Path) {
    let pages = ["/api/stats", "/api/workers"].map(|page| admin::json(folder, page));
    let [Ok(stats), Ok(Value::Array(workers))] = pages else {
        row["state"] = "silent".into();
        return;
    };
    row["state"] = match (&stats["draining"], &stats["ready"]) {
        (Value::Bool(true), _) => "draining",
        (_, Value::Bool(true)) => "ready",
        _ => "starting",
    }
    .into();
    let ready = workers.iter().filter(|worker| worker["state"] == "ready").count();
    let restarts: u64 = workers.iter().filter_map(|worker| worker["restarts"].as_u64()).sum();
    row["workers"] = json!({ "ready": ready, "total": workers.len() });
    row["restarts"] = restarts.into();
}

fn print(rows: &[Value], is_one: bool, form: OutputForm, namespace: &str) -> Result<(), Failure> {
    let document = if is_one { rows.first().cloned().unwrap_or_default() } else { json!(rows) };
    match form {
        OutputForm::Json => super::print_text(&format!("{document:#}\n")),
        OutputForm::Yaml => super::print_text(
            &serde_saphyr::to_string(&document)
                .map_err(|e| Failure::failed(format!("the list cannot be written as YAML: {e}")))?,
        ),
        _ if rows.is_empty() => {
            note(&format!("no function is running in namespace {namespace}"));
            Ok(())
        }
        OutputForm::Wide => super::print_text(&table(&COLUMNS_WIDE, rows)),
        OutputForm::Text => super::print_text(&table(&COLUMNS, rows)),
    }
}

fn table(columns: &[&str], rows: &[Value]) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|column| (*column).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|c| cell(row, c)).collect()));
    let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|i| width(i).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(row: &Value, column: &str) -> String {
    let value = match column {
        "WORKERS" if row["workers"].is_object() => {
            return format!("{}/{}", row["workers"]["ready"], row["workers"]["total"]);
        }
        "AGE" => return row["age_seconds"].as_u64().map_or("-".into(), age),
        column => &row[column.to_lowercase()],
    };
    match value {
        Value::Null => "-".into(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_table_has_a_row_for_each_function() {
        let rows = [
            json!({"name": "hello", "state": "ready", "url": "http://127.0.0.1:8080", "pid": 7,
                "workers": {"ready": 1, "total": 2}, "age_seconds": 61, "restarts": 3}),
            json!({"name": "a", "state": "starting", "pid": 8}),
        ];
        expect![[r"
            NAME    STATE      URL                     WORKERS   AGE
            hello   ready      http://127.0.0.1:8080   1/2       1m1s
            a       starting   -                       -         -
        "]]
        .assert_eq(&table(&COLUMNS, &rows));
        let ages = [59, 3_599, 86_399, 90_000].map(age).join(" ");
        assert_eq!(ages, "59s 59m59s 23h59m 1d1h");
    }

    #[test]
    fn the_kind_may_stand_before_a_name() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(without_kind(&words(&["function", "function"])), ["function"]);
        assert_eq!(without_kind(&words(&["hello"])), ["hello"]);
        assert!(without_kind(&words(&["functions"])).is_empty());
    }
}
