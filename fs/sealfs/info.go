package sealfs

import (
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fileInfo is the base file's, with the size of the plaintext.
type fileInfo struct {
	vfs.FileInfo
	sizePlain int64
}

func (i fileInfo) Size() int64 { return i.sizePlain }

// remoteInfo is what is known of a file that is not here yet.
type remoteInfo struct {
	name      string
	sizePlain int64
}

func (i remoteInfo) Name() string           { return i.name }
func (i remoteInfo) Size() int64            { return i.sizePlain }
func (i remoteInfo) Mode() os.FileMode      { return 0o600 }
func (i remoteInfo) ModTime() time.Time     { return time.Time{} }
func (i remoteInfo) IsDir() bool            { return false }
func (i remoteInfo) Sys() any               { return nil }
func (i remoteInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
