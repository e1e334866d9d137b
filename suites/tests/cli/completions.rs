//! Completions of shells, and the manual.

use std::fs;
use std::path::Path;

use rstest::rstest;

use crate::support::cli_sandbox::CliSandbox;

/// The verbs of a help page, in their order.
fn verbs(help: &str) -> Vec<String> {
    let (_, list) = help.split_once("\nCommands:\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    // A description that is wrapped is indented further than the verbs are.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// A program that is installed here.
pub fn installed(program: &str) -> bool {
    shakedown::settings::find_program(program, Path::new(".")).is_some()
}

#[rstest]
#[case::bash("bash", &["bash", "-n"])]
#[case::zsh("zsh", &["zsh", "-n"])]
#[case::fish("fish", &["fish", "--no-execute"])]
#[case::powershell("powershell", &["pwsh", "-NoProfile", "-File"])]
#[case::elvish("elvish", &["elvish", "-compileonly"])]
fn completions_name_every_verb_and_the_shell_reads_them(#[case] shell: &str, #[case] reader: &[&str]) {
    let sandbox = CliSandbox::new();
    let script = sandbox.command(&["completions", shell]).output().unwrap();
    assert!(script.status.success());
    let text = String::from_utf8(script.stdout).unwrap();
    let all = verbs(&String::from_utf8(sandbox.command(&["--help"]).output().unwrap().stdout).unwrap());
    assert!(all.len() > 20, "{all:?}");
    let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric() && letter != '-').collect();
    for verb in all.iter().map(String::as_str).chain(["retry-failed"]) {
        assert!(words.contains(&verb), "{verb}");
    }
    assert!(text.contains("canary"), "flags are offered too");
    assert!(!words.contains(&"peer"), "what is hidden is not offered");
    if installed(reader[0]) {
        let name = if shell == "powershell" { "completions.ps1" } else { "completions" };
        fs::write(sandbox.path(name), &text).unwrap();
        let read = std::process::Command::new(reader[0]).args(&reader[1..]).arg(sandbox.path(name)).output().unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{}", String::from_utf8_lossy(&read.stderr));
    }
}

#[test]
fn bash_completes_verbs_flags_and_values() {
    let sandbox = CliSandbox::new();
    let script = sandbox.command(&["completions", "bash"]).output().unwrap().stdout;
    fs::write(sandbox.path("completions"), script).unwrap();
    for (typed, wanted) in [
        (&["shakedown", "comple"][..], "completions"),
        (&["shakedown", "queue", "retr"], "retry-failed"),
        (&["shakedown", "check", "--cana"], "--canary"),
        (&["shakedown", "completions", "powe"], "powershell"),
    ] {
        let (last, before) = (typed[typed.len() - 1], typed[typed.len() - 2]);
        let line = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _shakedown shakedown '{last}' '{before}'; \
             echo \"${{COMPREPLY[*]}}\"",
            sandbox.path("completions").display(),
            typed.join(" "),
            typed.len() - 1
        );
        let completed = std::process::Command::new("bash").args(["--norc", "-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), wanted, "{typed:?}: {completed:?}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_verb_and_is_set_without_warnings() {
    let sandbox = CliSandbox::new();
    let page = sandbox.command(&["man"]).output().unwrap();
    assert!(page.status.success());
    let page = String::from_utf8(page.stdout).unwrap();
    let directory = sandbox.path("man");
    let (code, printed) = sandbox.run(&["man", "--out", directory.to_str().unwrap()]);
    assert_eq!(code, 0, "{printed}");
    let read = |name: &str| fs::read_to_string(directory.join(format!("{name}.1"))).unwrap();
    for verb in verbs(&String::from_utf8(sandbox.command(&["--help"]).output().unwrap().stdout).unwrap()) {
        let escaped = verb.replace('-', "\\-");
        assert!(page.contains(&format!("shakedown\\-{escaped}(1)")), "{verb}");
        assert!(read(&format!("shakedown-{verb}")).contains(".SH NAME"), "{verb}");
    }
    assert!(read("shakedown-queue-retry-failed").contains("dry\\-run"));
    assert!(!directory.join("shakedown-peer.1").exists(), "what is hidden has no page");
    if installed("groff") {
        for file in fs::read_dir(&directory).unwrap() {
            let file = file.unwrap().path();
            // `-k` reads what is no ASCII, and `-z` writes nothing but warnings.
            let set =
                std::process::Command::new("groff").args(["-k", "-man", "-ww", "-Tutf8", "-z"]).arg(&file).output();
            let set = set.unwrap();
            let printed = String::from_utf8_lossy(&set.stderr);
            assert!(set.status.success() && printed.is_empty(), "{}: {printed}", file.display());
        }
    }
    let taken = sandbox.path("work/taken");
    fs::write(&taken, "").unwrap();
    let (code, printed) = sandbox.run(&["man", "--out", taken.to_str().unwrap()]);
    assert!(code == 2 && printed.contains("taken") && printed.contains("choose a writable directory"), "{printed}");
}
