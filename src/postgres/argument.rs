//! Arguments that pgrx passes on as they come, so that nothing is detoasted before the function's entry point.

/// Makes a type that is a `pg_sys::Datum` with a lifetime, with an `unsafe fn new`, an argument of a SQL type.
macro_rules! datum_argument {
    ($type:ident, $sql:literal) => {
        pgrx::impl_sql_translatable!($type<'_>, $sql);

        impl pgrx::FromDatum for $type<'_> {
            unsafe fn from_polymorphic_datum(
                datum: pgrx::pg_sys::Datum,
                is_null: bool,
                _type: pgrx::pg_sys::Oid,
            ) -> Option<Self> {
                // SAFETY: the caller promises that the datum is of the SQL type.
                (!is_null).then(|| unsafe { Self::new(datum) })
            }
        }

        // SAFETY: the argument is declared with the SQL type, and lives as long as the call.
        unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for $type<'fcx> {
            unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
                // SAFETY: as above.
                unsafe { arg.unbox_arg_using_from_datum() }.expect("the argument is not NULL")
            }

            unsafe fn unbox_nullable_arg(
                arg: pgrx::callconv::Arg<'_, 'fcx>,
            ) -> pgrx::nullable::Nullable<Self> {
                // SAFETY: as above.
                unsafe { arg.unbox_arg_using_from_datum().into() }
            }
        }
    };
}
pub(crate) use datum_argument;
