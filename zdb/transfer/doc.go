// Package transfer moves the live values of a namespace through a stream of bytes: from a
// store or a server to a file, and from there into another one.
//
// # Stream, version 1 (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QZDT"
//	     4     4  version, 1
//	     8     1  mode: 0 user keys, 1 sequential
//	     9     1  length of the namespace's name, at most 128
//	    10     8  unix time of the export, seconds, signed
//	    18     -  name, for people: an import does not look at it
//	     -     4  CRC-32C of all before
//
// Then records, back to back:
//
//	 0     1  1
//	 1     1  length of the key, 1 to 255; 8 in a sequential stream
//	 2     4  length of the value, at most 8 MiB
//	 6     8  unix time of the write, seconds, signed
//	14     -  key, then value
//	 -     4  CRC-32C of the record before it
//
// And the end, behind which nothing follows:
//
//	 0     1  2
//	 1     8  number of records
//	 9     8  bytes of all values
//	17     8  id that the next new value of the source gets; 0 with user keys
//	25    32  SHA-256 of the whole stream before the end
//	57     4  CRC-32C of bytes 0 to 56
//
// A stream without a right end is cut or damaged: ErrDamaged. Records are in the order of
// the source's SCAN; keys of a sequential stream are ids and only grow. A user key may come
// twice when it was written during the export: the later one counts.
//
// # What an export is
//
// Each value that was there from the beginning of an export to its end is in it, as it
// was at some moment between. For one moment for all, lock the namespace before (NSSET lock).
// Deleted values, older versions, the password and the limits are not in it.
//
// # What an import does
//
// With user keys: SET of each, with its time where that is allowed. A key whose value is
// the same already is left alone, so an import can be repeated or taken up again after it was
// interrupted; one with another value gets the stream's.
//
// A sequential namespace gives its ids itself, so an import can only make new values in their
// order and see that the ids come out equal. Ids that the source has no more are used up by an
// empty value that is deleted at once, and so are those up to its next id, since an id that was
// deleted never comes again. Whatever the target has below its next id must be what
// the stream has there: then it is the beginning of this very import, and is gone on from;
// otherwise the import is refused with ErrOtherData, and has changed nothing but a value that an
// interrupted import had left in a gap. While it runs nobody else may write there. With
// Options.NewIDs the values get whatever ids come, and what became of each is told; that can't be
// repeated.
package transfer
