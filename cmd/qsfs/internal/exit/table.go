package exit

import (
	"context"
	iofs "io/fs"
	"syscall"

	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/fs/control"
	"github.com/qsfs/qsfs/identity/keyfile"
	"github.com/qsfs/qsfs/identity/phrase"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/endpoint"
)

// sentinels is the one table from errors to exit codes. The first row that matches decides, so what fs says of a volume
// stands before what a node or the kernel said beneath it, and an interruption stands before all that follows from it.
// The hint is for errors that bring none of their own.
var sentinels = []struct {
	sentinel error
	code     Code
	hint     string
}{
	{context.Canceled, Interrupted, ""},

	{fs.ErrVolumeNotFound, NotFound, `"qsfs ls" lists the volumes of this machine; "qsfs restore" brings one back from its words`},
	{fs.ErrVolumeExists, Other, `"qsfs ls" lists the volumes of this machine`},
	{fs.ErrLocked, Locked, `"qsfs status" tells where the volume is mounted`},
	{fs.ErrWrongKey, WrongKey, "check the words and their order, and that they belong to this volume"},
	{fs.ErrForked, Locked, ""},
	{fs.ErrReadOnly, NotPermitted, ""},
	{fs.ErrTooNew, TooNew, "install a newer qsfs"},
	{fs.ErrDamaged, Damaged, ""},
	{fs.ErrNotNode, NotFound, ""},
	{fs.ErrTooFewNodes, TooFewNodes, "start the nodes that are down, or check the network to them"},
	{fs.ErrNoSpace, NoSpace, ""},
	{fs.ErrNotPermitted, NotPermitted, ""},
	{fs.ErrMountpoint, Mountpoint, ""},
	{control.ErrBusy, Mountpoint, ""},
	{control.ErrUnknownCall, Other, "unmount the volume and mount it again with this program"},

	{phrase.ErrInvalid, WrongKey, "a phrase is 24 words of the BIP-39 English list, in order"},
	{keyfile.ErrWrongPassphrase, WrongKey, ""},
	{keyfile.ErrNeedPassphrase, WrongKey, ""},
	{keyfile.ErrWrongVolume, WrongKey, "the kept key is of another volume: remove it, and mount with the words"},
	{keyfile.ErrPassphrase, Usage, ""},
	{keyfile.ErrPermissions, NotPermitted, "a key file must belong to you and be readable by you alone: chmod 600"},
	{keyfile.ErrTooNew, TooNew, "install a newer qsfs"},
	{keyfile.ErrCorrupt, Damaged, `remove the key file and mount with "--unlock key-file --phrase-file F": the words bring it back`},

	{endpoint.ErrInvalid, Usage, ""},
	{endpoint.ErrPermissions, NotPermitted, "a password file must belong to you and be readable by you alone: chmod 600"},
	{zdb.ErrLocked, Locked, "another process has this node's folder open"},
	{zdb.ErrNotZDB, Other, "the address answers, but not as a 0-db server: check host and port"},
	{zdb.ErrAccessDenied, NotPermitted, "give the namespace's password with ?password-file=PATH in the node's URL"},
	{zdb.ErrNamespaceNotFound, NotFound, "the server does not allow to create the namespace: create it there"},
	{zdb.ErrTooNew, TooNew, "install a newer qsfs"},
	{zdb.ErrNoSpace, NoSpace, ""},
	{zdb.ErrUnavailable, TooFewNodes, "start the nodes that are down, or check the network to them"},

	{syscall.ENOSPC, NoSpace, ""},
	{syscall.EDQUOT, NoSpace, ""},
	{iofs.ErrPermission, NotPermitted, ""},
}
