//! `ping`: requests at an interval, each reply classed and timed, and a summary that balances.

mod book;
mod link;
mod session;
mod settings;
mod show;

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use echo_core::Failure;

use crate::connection::{Connect, cause, congestion_control, connect};
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::{self, Environment, Mode, Report, Target, Text};
use session::Session;
use show::Show;

pub use settings::Ping;

/// Pings, and reports what came of it.
pub fn run(connect: Connect, config: Ping, interrupt: &Interrupt) -> Result<(), Failure> {
    config.check(&connect)?;
    let color = connect.color.enabled(io::stdout().is_terminal());
    let mut show = Show::new(&config, color);
    let report = measure(&connect, &config, &mut show, interrupt)?;
    match &config {
        Ping { jsonl: true, .. } => show.document(&report::json(&report))?,
        Ping { json: true, .. } => output::line(report::json(&report)).map_err(output::failure)?,
        // Nothing was sent to nobody: the error says it all.
        _ if report.target.address.is_empty() => {}
        _ => output::line(format_args!("\n{}", Text(&report))).map_err(output::failure)?,
    }
    report.failure().map_or(Ok(()), Err)
}

/// Runs, and puts everything that is known into a report.
///
/// # Errors
/// What concerns this machine only; what concerns the target is in the report.
fn measure(
    options: &Connect,
    config: &Ping,
    show: &mut Show,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let mut report = Report {
        mode: Mode::Ping,
        config: report::config([serde_json::to_value(options), serde_json::to_value(config)]),
        target: Target::of(options),
        environment: Environment::detect(),
        ..Report::default()
    };
    let connection = match connect(options, interrupt) {
        Ok(connection) => connection,
        Err(error) => {
            report.fault = Some(error.into());
            return Ok(report);
        }
    };
    report.target.found(&connection.remote);
    report.environment.congestion_control = congestion_control(&connection.socket);
    show.start(&report.target, config)?;
    let mut session = Session::new(options, config, connection.remote.clone(), show, interrupt);
    session.adopt(connection).map_err(|error| {
        Failure::bad(anyhow!(
            "cannot set the socket's options: {}",
            cause(&error)
        ))
    })?;
    session.run()?;
    session.finish(&mut report);
    Ok(report)
}
