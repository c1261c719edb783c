//! The floor of exec mode: a program started, read to its end and reaped, with nothing around it.
//!
//! `spawn_floor COUNT PROGRAM [ARGUMENT...]` prints wall and CPU microseconds a start, its own and
//! the program's together.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Clock ticks of /proc; the kernel has shown 100 a second for decades.
const TICK_US: f64 = 10_000.0;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let count = words.next().and_then(|text| text.to_str()?.parse::<u32>().ok());
    let (Some(count), Some(program)) = (count.filter(|count| *count > 0), words.next()) else {
        eprintln!("write spawn_floor COUNT PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (began, cpu) = (Instant::now(), cpu_us());
    for _ in 0..count {
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!("the program ended with {}", output.status);
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("the program cannot be started: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let each = |us: f64| us / f64::from(count);
    let wall = began.elapsed().as_secs_f64() * 1e6;
    println!("{:.1} us wall, {:.1} us cpu", each(wall), each(cpu_us() - cpu));
    ExitCode::SUCCESS
}

/// CPU time of this process and of those it has reaped.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(4).flat_map(str::parse::<f64>);
    ticks.sum::<f64>() * TICK_US
}
