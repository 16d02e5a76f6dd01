//! What the command says of itself.

use crate::check;

#[test]
fn the_command_lists_its_subcommands() {
    check("help", &["--help"]);
}

#[test]
fn every_subcommand_explains_itself() {
    for command in crate::examples::COMMANDS {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        check(&format!("help-{}", command.replace(' ', "-")), &args);
    }
}

#[test]
fn completions_name_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = crate::stdout(&["completions", shell]);
        assert!(script.contains("capture"), "{shell}");
    }
}
