//! The memory that this process can still have: what the machine has left, and what its control groups allow.
//!
//! Linux tells both in files. Elsewhere nothing is known, and so nothing is refused.

use std::fs;
use std::path::Path;

/// In bytes, if it can be told.
pub fn available() -> Option<u64> {
    available_under(Path::new("/"))
}

/// The same where `root` holds `proc` and `sys`.
fn available_under(root: &Path) -> Option<u64> {
    let free = field(&root.join("proc/meminfo"), "MemAvailable:")? * 1024;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let files = match controllers {
            "" => &VERSION_2,
            _ if controllers.split(',').any(|name| name == "memory") => &VERSION_1,
            _ => return None,
        };
        files.left(root, group.trim_start_matches('/'))
    });
    Some(limits.fold(free, u64::min))
}

/// What the files of a control group are called.
struct Files {
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    /// What of the use is copies of files, which give way.
    copies: &'static str,
}

const VERSION_2: Files = Files {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    copies: "inactive_file",
};

const VERSION_1: Files = Files {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    copies: "total_inactive_file",
};

impl Files {
    /// The least that a group or one above it has left; none without a limit.
    fn left(&self, root: &Path, group: &str) -> Option<u64> {
        let mount = root.join(self.mount);
        let own = mount.join(group);
        let groups = own.ancestors().take_while(|path| path.starts_with(&mount));
        groups
            .filter_map(|group| {
                let limit = number(&group.join(self.limit))?;
                let used = number(&group.join(self.used))?;
                let copies = field(&group.join("memory.stat"), self.copies).unwrap_or(0);
                Some(limit.saturating_sub(used.saturating_sub(copies)))
            })
            .min()
    }
}

/// The number that a file holds; none for `max`.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number after `name` at the beginning of a line.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(str::split_whitespace);
    let mut found = lines.find_map(|mut words| (words.next()? == name).then_some(words))?;
    found.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available_under(root.path())
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:     8000 kB\n",
    );

    #[test]
    fn without_limits_it_is_what_the_machine_has_left() {
        assert_eq!(machine(&[MEMINFO]), Some(8_192_000));
        assert_eq!(machine(&[]), None, "not Linux");
        let free = [
            MEMINFO,
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.current", "5000\n"),
        ];
        assert_eq!(machine(&free), Some(8_192_000));
    }

    #[test]
    fn a_group_and_those_above_it_have_limits_and_copies_of_files_give_way() {
        let inner = [
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "7000000\n"),
            ("sys/fs/cgroup/a/b/memory.current", "1000000\n"),
            (
                "sys/fs/cgroup/a/b/memory.stat",
                "anon 1\ninactive_file 250000\nactive_file 9\n",
            ),
        ];
        assert_eq!(machine(&inner), Some(6_250_000));
        let outer = [
            ("sys/fs/cgroup/a/memory.max", "3000000"),
            ("sys/fs/cgroup/a/memory.current", "1000000"),
        ];
        assert_eq!(machine(&[&inner[..], &outer].concat()), Some(2_000_000));
    }

    #[test]
    fn the_first_version_of_control_groups_has_other_names() {
        let files = [
            MEMINFO,
            ("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/x\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712",
            ),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "9"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "600"),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "900"),
            (
                "sys/fs/cgroup/memory/x/memory.stat",
                "total_inactive_file 400",
            ),
        ];
        assert_eq!(machine(&files), Some(100));
    }
}
