//! Statements whose parameters have names.
//!
//! The text of a statement says `{name}` where a parameter belongs, and a struct with a field of that name holds the
//! value. Name, SQL type and order of each parameter so stand once, in the struct: [`statement!`] declares it together
//! with the file of its text, [`rows!`] declares one row of a table that a statement is given, as an array a column.

use std::ops::RangeFrom;

use chrono::{DateTime, Utc};
use sqlx::TypeInfo;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgTypeInfo, Postgres};
use sqlx::{Arguments, Type};

use crate::domain::ids::LeaseId;

/// What a `{name}` in the text of a statement stands for.
pub(super) trait Parameter {
    /// What is put in its place. Takes from `numbers` those of the values that [`Self::bind`] adds.
    fn placeholder(name: &str, numbers: &mut RangeFrom<usize>) -> String;

    /// Adds its values.
    ///
    /// # Errors
    /// When there are more of them than the protocol can carry.
    fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError>;
}

/// A single value: `$7::INT8`.
macro_rules! value {
    ($($type:ty),+ $(,)?) => {
        $(
            impl Parameter for $type {
                fn placeholder(_: &str, numbers: &mut RangeFrom<usize>) -> String {
                    let number = numbers.next().unwrap_or_default();
                    format!("${number}::{}", <Self as Type<Postgres>>::type_info().name())
                }

                fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
                    arguments.add(self)
                }
            }
        )+
    };
}

value!(bool, i64, LeaseId, Option<DateTime<Utc>>);

/// A row of a table that a statement is given. Made by [`rows!`].
pub(super) trait Row: Sized {
    /// The columns: their names, and the types of the arrays that hold them.
    fn columns() -> Vec<(&'static str, PgTypeInfo)>;

    /// Adds the columns of these rows, each as an array, in the order of [`Self::columns`].
    ///
    /// # Errors
    /// When there are more rows than an array can hold.
    fn bind(rows: &[Self], arguments: &mut PgArguments) -> Result<(), BoxDynError>;
}

/// A table: `(SELECT * FROM unnest($1::UUID[], $2::TEXT[]) WITH ORDINALITY AS requests (run_id, node_key, ord))`. The text
/// gives it an alias. `ord` is the place of each row in it, from 1.
impl<R: Row> Parameter for Vec<R> {
    fn placeholder(name: &str, numbers: &mut RangeFrom<usize>) -> String {
        let columns = R::columns();
        let arrays = columns.iter().zip(numbers);
        let arrays: Vec<_> =
            arrays.map(|((_, array), number)| format!("${number}::{}", array.name())).collect();
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        format!(
            "(SELECT * FROM unnest({}) WITH ORDINALITY AS {name} ({}, ord))",
            arrays.join(", "),
            names.join(", ")
        )
    }

    fn bind(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        R::bind(self, arguments)
    }
}

/// Declares the row of a table that a statement is given: a field is a column, and the type of the field decides about
/// that of the column.
macro_rules! rows {
    (
        $(#[$meta:meta])*
        struct $name:ident $(<$life:lifetime>)? {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(super) struct $name $(<$life>)? {
            $($(#[$field_meta])* pub(super) $field: $type,)+
        }

        impl $(<$life>)? crate::store::postgres::statement::Row for $name $(<$life>)? {
            fn columns() -> Vec<(&'static str, sqlx::postgres::PgTypeInfo)> {
                vec![$((
                    stringify!($field),
                    <$type as sqlx::postgres::PgHasArrayType>::array_type_info(),
                )),+]
            }

            fn bind(
                rows: &[Self],
                arguments: &mut sqlx::postgres::PgArguments,
            ) -> Result<(), sqlx::error::BoxDynError> {
                use sqlx::Arguments;
                use sqlx::postgres::PgBindIterExt;
                $(arguments.add(rows.iter().map(|row| &row.$field).bind_iter())?;)+
                Ok(())
            }
        }
    };
}
pub(super) use rows;

/// Declares a statement: the file of its text, and a field for each of its parameters.
macro_rules! statement {
    (
        $(#[$meta:meta])*
        struct $name:ident $(<$life:lifetime>)? = $file:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(super) struct $name $(<$life>)? {
            $($(#[$field_meta])* pub(super) $field: $type,)+
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// The text, always the same one: the server knows a prepared statement by it.
            pub(super) fn text() -> &'static str {
                use crate::store::postgres::statement::{Parameter, fill};
                static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
                TEXT.get_or_init(|| {
                    let mut numbers = 1..;
                    let parameters = [$((
                        stringify!($field),
                        <$type as Parameter>::placeholder(stringify!($field), &mut numbers),
                    )),+];
                    fill(include_str!($file), &parameters)
                })
            }

            /// The statement with these values; `text` is [`Self::text`] or another one that takes the same parameters.
            ///
            /// # Errors
            /// [`StoreError::Corrupt`](crate::store::StoreError::Corrupt) when they are more than the protocol can carry.
            pub(super) fn query(
                &self,
                text: &'static str,
            ) -> Result<
                sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>,
                crate::store::StoreError,
            > {
                use crate::store::postgres::statement::Parameter;
                let mut arguments = sqlx::postgres::PgArguments::default();
                let encode = |error| crate::store::postgres::store_error(sqlx::Error::Encode(error));
                $(Parameter::bind(&self.$field, &mut arguments).map_err(encode)?;)+
                Ok(sqlx::query_with(text, arguments))
            }
        }
    };
}
pub(super) use statement;

/// Puts the placeholders of all parameters into a text.
///
/// # Panics
/// When the text names a parameter that there is not, or does not name one that there is.
pub(super) fn fill(text: &str, parameters: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(text.len() * 2);
    let mut is_named = vec![false; parameters.len()];
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let name = behind.split_once('}').filter(|(name, _)| is_name(name));
        let Some((name, behind)) = name else {
            // Of a value in JSON.
            filled.push('{');
            rest = behind;
            continue;
        };
        let place = parameters.iter().position(|(parameter, _)| *parameter == name);
        let place = place.unwrap_or_else(|| panic!("{{{name}}} is no parameter of\n{text}"));
        filled.push_str(&parameters[place].1);
        is_named[place] = true;
        rest = behind;
    }
    filled.push_str(rest);
    for ((name, _), is_named) in parameters.iter().zip(is_named) {
        assert!(is_named, "{{{name}}} is not in\n{text}");
    }
    filled
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_lowercase() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::{
        accept, claim, commit_rows, leases, rates, recovery, resolve, step_rows,
    };

    rows! {
        /// Something that is counted.
        struct Item<'a> {
            name: &'a str,
            count: Option<i32>,
        }
    }

    #[test]
    fn a_table_goes_by_its_name_and_counts_its_rows() {
        let mut numbers = 3..;
        assert_eq!(
            <Vec<Item<'_>> as Parameter>::placeholder("items", &mut numbers),
            "(SELECT * FROM unnest($3::TEXT[], $4::INT4[]) WITH ORDINALITY AS items (name, count, ord))"
        );
        assert_eq!(<bool as Parameter>::placeholder("is_new", &mut numbers), "$5::BOOL");
    }

    #[test]
    fn as_many_values_are_added_as_have_numbers() {
        let mut arguments = PgArguments::default();
        let items = vec![Item { name: "a", count: None }, Item { name: "b", count: Some(2) }];
        Parameter::bind(&items, &mut arguments).unwrap();
        assert_eq!(arguments.len(), Item::columns().len());
        Parameter::bind(&true, &mut arguments).unwrap();
        assert_eq!(arguments.len(), 3);
    }

    #[test]
    fn every_name_is_replaced_and_json_is_left() {
        let parameters = [("a", "$1".to_owned()), ("b", "$2".to_owned())];
        let filled = fill("SELECT {b}, {a}, {b}, '{\"attempt\":1}', '{}'", &parameters);
        assert_eq!(filled, "SELECT $2, $1, $2, '{\"attempt\":1}', '{}'");
    }

    #[test]
    fn every_statement_names_its_parameters_and_no_others() {
        let texts = [
            accept::AcceptRuns::text(),
            claim::ClaimRows::text(),
            claim::ReadUpstream::text(),
            commit_rows::CommitRows::text(),
            leases::ReleaseRows::text(),
            rates::GrantStarts::text(),
            recovery::FindUpstream::text(),
            resolve::ResolveCommits::text(),
            step_rows::WriteSteps::text(),
        ];
        for text in texts {
            assert!(text.contains("$1::"), "{text}");
        }
    }
}
