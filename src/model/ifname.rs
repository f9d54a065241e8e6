//! Names of network interfaces.

use super::Invalid;

/// Refuses what the kernel does not take as an interface's name (`dev_valid_name`): 1 to 15 bytes, neither `.`
/// nor `..`, without `/`, `:` and white space; and `%`, which asks the kernel to choose a number.
///
/// # Errors
/// Says what is wrong.
pub fn check_ifname(name: &str) -> Result<(), Invalid> {
    let why = if name.is_empty() || name.len() > 15 {
        "it has 1 to 15 bytes"
    } else if name == "." || name == ".." {
        "that is a folder"
    } else if name.contains(['/', ':', '%']) || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "it has no '/', ':', '%' or white space"
    } else {
        return Ok(());
    };
    Err(Invalid::new(format!("{name:?} is not an interface's name: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_takes() {
        for good in ["eth0", "a", "fifteen-bytes-x"] {
            assert_eq!(check_ifname(good), Ok(()));
        }
        for bad in ["", ".", "..", "sixteen-bytes-xx", "a/b", "a b", "a\n", "eth%d", "eth0:1"] {
            assert!(check_ifname(bad).is_err(), "{bad:?}");
        }
    }
}
