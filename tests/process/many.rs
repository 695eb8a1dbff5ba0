//! Many connector packages behind one gateway, as `cargo bench --bench packages` does with a thousand: counts and memory, and no time.

use crate::packages::{Answers, Caller, Packages, memory, recording, sources};
use crate::support::{Gateway, program};

/// Few enough for a build without optimisation, and several copies of each.
const PACKAGES: usize = 42;
/// What each may add to the memory of the gateway, in kilobytes: a thousand of them stay below 1 GiB.
const MOST: u64 = 1 << 10;
/// What the program takes by itself in a build without optimisation, in kilobytes.
const PROGRAM: u64 = 128 << 10;

#[test]
fn many_packages_are_served_with_policies_and_validation() {
    let all = Packages::repeat(&sources(), PACKAGES);
    let out = all.out();
    let mut import = program();
    import.args(["import", "connector"]).arg(all.packages()).arg("--out").arg(&out).args(["--validate", "refuse"]);
    let imported = import.output().unwrap();
    assert_eq!(imported.status.code(), Some(0), "{}", String::from_utf8_lossy(&imported.stderr));
    let apis = all.apis();
    assert_eq!(apis.len(), PACKAGES, "every package is an API");
    all.connect(&apis);
    let checked = program().arg("check").arg(&out).output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let backend = recording(&apis);
    let listeners = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--stand-in", &backend.address.to_string()];
    let gateway = Gateway::spawn(program().arg("run").arg(&out).args(listeners));
    let mut answers = Answers::default();
    let mut caller = Caller::new(gateway.address);
    apis.iter().for_each(|api| answers.of(api, &mut caller, &backend));
    let called: usize = answers.right.values().sum();
    assert_eq!(called, apis.iter().map(|api| api.operations()).sum::<usize>(), "every operation is called");
    assert_eq!(answers.unexplained, [""; 0], "{}", answers.unexplained.join("\n\n"));
    assert!(!answers.refused.is_empty(), "what lacks something is refused: {answers:?}");
    let (holds, _) = memory(gateway.id());
    println!("{} MiB for {PACKAGES} packages; {answers:?}", holds >> 10);
    assert!(holds > 0 && holds < PROGRAM + PACKAGES as u64 * MOST, "{holds} KiB");
}
