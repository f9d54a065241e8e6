//! Choices that users make by a word.

/// An enum whose variants are written as words, in every format, by everyone; the first argument says what it is.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $what:literal,
        pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every word.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::model::Invalid::new(format!(
                        "{text:?} is no {}: one of {}", $what, Self::WORDS.join(", ")
                    ))),
                }
            }
        }

        $crate::model::serde_as_text!($name);
    };
}

pub(crate) use words;
