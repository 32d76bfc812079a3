package meta

import "github.com/qsfs/qsfs/fs/wal"

// The volume log is a Journal.
var _ Journal = (*wal.Log)(nil)
