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
use crate::report::{self, Mode, Report};
use session::Session;
use show::Show;

pub use settings::Ping;

/// Pings, and reports what came of it.
pub fn run(connect: Connect, config: Ping, interrupt: &Interrupt) -> Result<(), Failure> {
    config.check(&connect)?;
    let color = connect.color.enabled(io::stdout().is_terminal());
    let mut show = Show::new(&config, color);
    let mut report = measure(&connect, &config, &mut show, interrupt)?;
    let cut = interrupt.why().filter(|_| config.has_end());
    report.conclude(None, cut);
    if config.jsonl {
        show.document(&report::json(&report))?;
        return report.outcome.failure().map_or(Ok(()), Err);
    }
    // Nothing was sent to nobody: the error says it all.
    let has_text = !report.target.address.is_empty();
    if has_text && !config.json {
        output::line("").map_err(output::failure)?;
    }
    output::report(&report, config.json, has_text)
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
    let mut report = Report::new(Mode::Ping, options, config);
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
