//! PostgreSQL's functions without pgrx's wrapper, which saves and restores the state of error handling
//! around each call, at some 110 instructions. A registration makes dozens of calls, and the wrappers took
//! a tenth of its time. A sequence of calls shares one [`with_error_boundary`] instead.
//!
//! Inside it nothing may panic or have a destructor: an error leaves it by longjmp.

use pgrx::pg_sys::*;
use std::ffi::{c_char, c_int, c_void};

/// Turns a PostgreSQL error into a Rust panic.
pub use pgrx::pg_sys::ffi::pg_guard_ffi_boundary as with_error_boundary;

// These raise no errors and need no boundary.
unsafe extern "C-unwind" {
    pub safe fn GetUserId() -> Oid;
    pub safe fn GetSessionUserId() -> Oid;
    /// The role that the session has, whatever function is being run.
    pub safe fn GetOuterUserId() -> Oid;
    pub fn GetUserIdAndSecContext(user: *mut Oid, context: *mut c_int);
    pub fn SetUserIdAndSecContext(user: Oid, context: c_int);
    pub safe fn IsInParallelMode() -> bool;
    pub safe fn IsLogicalWorker() -> bool;
    pub safe fn GetSystemIdentifier() -> u64;
    /// Not while the server is in recovery.
    pub fn GetWALInsertionTimeLine() -> TimeLineID;
    pub safe fn GetCurrentSubTransactionId() -> SubTransactionId;
    pub fn TransactionIdIsCurrentTransactionId(xid: TransactionId) -> bool;
    /// now(): microseconds since 2000.
    pub safe fn GetCurrentTransactionStartTimestamp() -> TimestampTz;
    pub safe fn GetCurrentTimestamp() -> TimestampTz;
}

unsafe extern "C-unwind" {
    // pgrx does not export these, and its own reports support neither custom SQLSTATEs nor errhidestmt.
    pub fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    pub fn errcode(sqlerrcode: c_int) -> c_int;
    pub fn errmsg_internal(fmt: *const c_char, ...) -> c_int;
    pub fn errdetail_internal(fmt: *const c_char, ...) -> c_int;
    pub fn errhint(fmt: *const c_char, ...) -> c_int;
    pub fn errhidestmt(hide: bool) -> c_int;
    pub fn errhidecontext(hide: bool) -> c_int;
    pub fn errfinish(file: *const c_char, line: c_int, function: *const c_char);

    pub fn palloc0(size: Size) -> *mut c_void;
    pub fn MemoryContextReset(context: MemoryContext);

    pub fn relation_open(relation: Oid, lock: LOCKMODE) -> Relation;

    pub fn ReadBuffer(relation: Relation, block: BlockNumber) -> Buffer;
    pub fn LockBuffer(buffer: Buffer, mode: c_int);
    pub fn UnlockReleaseBuffer(buffer: Buffer);
    pub fn MarkBufferDirty(buffer: Buffer);
    pub fn log_newpage_buffer(buffer: Buffer, page_std: bool) -> XLogRecPtr;

    pub fn CreateExecutorState() -> *mut EState;
    pub fn MakePerTupleExprContext(estate: *mut EState) -> *mut ExprContext;
    pub fn FreeExecutorState(estate: *mut EState);
    pub fn ExecOpenIndices(result: *mut ResultRelInfo, speculative: bool);
    pub fn index_close(index: Relation, lock: LOCKMODE);
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    pub fn index_insert_cleanup(index: Relation, info: *mut IndexInfo);
    pub fn MakeSingleTupleTableSlot(
        desc: TupleDesc,
        ops: *const TupleTableSlotOps,
    ) -> *mut TupleTableSlot;
    pub fn ExecStoreVirtualTuple(slot: *mut TupleTableSlot) -> *mut TupleTableSlot;
    pub fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    pub fn simple_table_tuple_insert(relation: Relation, slot: *mut TupleTableSlot);
    pub fn GetCurrentCommandId(used: bool) -> CommandId;
    pub fn ExecInsertIndexTuples(
        result: *mut ResultRelInfo,
        slot: *mut TupleTableSlot,
        estate: *mut EState,
        update: bool,
        no_duplicate_error: bool,
        conflict: *mut bool,
        arbiters: *mut List,
        #[cfg(not(feature = "pg15"))] only_summarizing: bool,
    ) -> *mut List;

    pub fn int64_to_numeric(value: i64) -> Numeric;
    pub fn JsonbIteratorInit(container: *mut JsonbContainer) -> *mut JsonbIterator;
    pub fn JsonbIteratorNext(
        iterator: *mut *mut JsonbIterator,
        value: *mut JsonbValue,
        skip_nested: bool,
    ) -> JsonbIteratorToken::Type;
    pub fn JsonEncodeDateTime(
        buffer: *mut c_char,
        value: Datum,
        r#type: Oid,
        zone: *const c_int,
    ) -> *mut c_char;
}
