//! Ids and words of the domain as values of columns.

use std::io::Write;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, Postgres};
use sqlx::{Encode, Type};
use uuid::Uuid;

use crate::domain::ids::{LeaseId, RunId, SkipToken, VersionId};
use crate::domain::state::NodeState;
use crate::domain::step::{StepKind, StepStatus};
use crate::domain::trace::{SpanId, TraceId};

/// Types that are written as another one.
macro_rules! written_as {
    ($as:ty: $($type:ty),+ => |$value:ident, $buffer:ident| $encode:expr) => {
        $(
            impl Type<Postgres> for $type {
                fn type_info() -> PgTypeInfo {
                    <$as as Type<Postgres>>::type_info()
                }
            }

            impl PgHasArrayType for $type {
                fn array_type_info() -> PgTypeInfo {
                    <$as as PgHasArrayType>::array_type_info()
                }
            }

            impl Encode<'_, Postgres> for $type {
                fn encode_by_ref(
                    &self,
                    $buffer: &mut PgArgumentBuffer,
                ) -> Result<IsNull, BoxDynError> {
                    let $value = self;
                    $encode
                }
            }
        )+
    };
}

written_as!(Uuid: LeaseId, RunId, VersionId => |id, buffer| {
    Encode::<Postgres>::encode_by_ref(&id.0, buffer)
});

written_as!(&str: SkipToken, SpanId, TraceId => |id, buffer| {
    write!(buffer, "{id}")?;
    Ok(IsNull::No)
});

written_as!(&str: NodeState, StepKind, StepStatus => |word, buffer| {
    Encode::<Postgres>::encode_by_ref(&word.as_str(), buffer)
});
