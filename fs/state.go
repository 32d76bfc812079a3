package fs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/identity/keys"
)

// Info is what a state folder tells without the key.
type Info struct {
	Version   int        `json:"version"`
	Name      string     `json:"name"`
	VolumeID  string     `json:"volume_id"` // hexadecimal
	CreatedAt time.Time  `json:"created_at"`
	Data      int        `json:"data_shards"`
	Parity    int        `json:"parity_shards"`
	Nodes     []InfoNode `json:"nodes"`
}

// InfoNode is a node without its secrets.
type InfoNode struct {
	ID    uint16 `json:"id"`
	URL   string `json:"url"`
	Group string `json:"group,omitempty"`
}

// localState is state.json: which writer this folder is.
type localState struct {
	Version  int    `json:"version"`
	WriterID string `json:"writer_id"` // hexadecimal, 16 random bytes
	// LastEpoch is the last epoch that this folder's writer held; 0 never.
	LastEpoch uint32 `json:"last_epoch"`
	// Clean means that everything in the folder is on the nodes, so the folder
	// may be thrown away when another machine has written since.
	Clean bool `json:"clean"`
}

const stateVersion = 1

// files of a state folder; see the package comment.
const (
	infoFile       = "volume.json"
	stateFile      = "state.json"
	superblockFile = "superblock"
	manifestPath   = "manifest"
	lockFile       = "lock"
	logFolder      = "log"
	metaFolder     = "meta"
)

// ReadInfo reads volume.json of a state folder.
func ReadInfo(stateDir string) (Info, error) {
	var info Info
	b, err := os.ReadFile(filepath.Join(stateDir, infoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return info, fmt.Errorf("%w: no volume in %s", ErrVolumeNotFound, stateDir)
	}
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("%w: %s: %w", ErrDamaged, infoFile, err)
	}
	if info.Version > stateVersion {
		return info, fmt.Errorf("%w: %s has version %d", ErrTooNew, infoFile, info.Version)
	}
	return info, nil
}

func writeInfo(dir string, s *superblock.Superblock) error {
	info := Info{
		Version: stateVersion, Name: s.Name, VolumeID: hex.EncodeToString(s.VolumeID),
		CreatedAt: s.CreatedAt, Data: s.Data, Parity: s.Parity,
	}
	for _, n := range s.Nodes {
		info.Nodes = append(info.Nodes, InfoNode{ID: n.ID, URL: n.URL, Group: n.Group})
	}
	return writeJSON(filepath.Join(dir, infoFile), info)
}

func readState(dir string) (localState, error) {
	var st localState
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("%w: %s: %w", ErrDamaged, stateFile, err)
	}
	if st.Version > stateVersion {
		return st, fmt.Errorf("%w: %s has version %d", ErrTooNew, stateFile, st.Version)
	}
	if id, err := hex.DecodeString(st.WriterID); err != nil || len(id) != 16 {
		return st, fmt.Errorf("%w: %s: writer id", ErrDamaged, stateFile)
	}
	return st, nil
}

func newState() (localState, error) {
	var id [16]byte
	if _, err := io.ReadFull(entropy, id[:]); err != nil {
		return localState{}, err
	}
	return localState{Version: stateVersion, WriterID: hex.EncodeToString(id[:]), Clean: true}, nil
}

func (st *localState) writerID() []byte {
	id, _ := hex.DecodeString(st.WriterID) // checked when read, made when new
	return id
}

func writeState(dir string, st localState) error {
	return writeJSON(filepath.Join(dir, stateFile), st)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces path whole, durably.
func writeFile(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lockDir makes this process the only user of a state folder.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, withHint(fmt.Errorf("%w: another process on this machine uses %s", ErrLocked, dir),
				`"qsfs status" shows where it is mounted; "qsfs umount" ends it`)
		}
		return nil, err
	}
	return f, nil
}

// writeSuperblockFile keeps the newest superblock beside the volume.
func writeSuperblockFile(dir string, slot int, value []byte) error {
	return writeFile(filepath.Join(dir, superblockFile), append([]byte{byte(slot)}, value...))
}

func readSuperblockFile(dir string, k *keys.Volume) (*superblock.Superblock, error) {
	b, err := os.ReadFile(filepath.Join(dir, superblockFile))
	if err != nil {
		return nil, err
	}
	if len(b) < 1 || int(b[0]) >= superblock.Slots {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, superblockFile)
	}
	return superblock.Open(b[1:], int(b[0]), k)
}

// syncFiles makes the files of a folder durable; a folder that is not there has none.
func syncFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

const localSaltBytes = 32

// localSeal encrypts a small file of the state folder: 32 random bytes of salt,
// then AES-256-GCM under HKDF-SHA-512(superblock key, "qsfs/v1/local" || salt)
// with a zero nonce, since each key seals once, and the file's name as
// associated data.
func localSeal(k *keys.Volume, name string, plain []byte) ([]byte, error) {
	out := make([]byte, localSaltBytes, localSaltBytes+len(plain)+16)
	if _, err := io.ReadFull(entropy, out); err != nil {
		return nil, err
	}
	aead, err := localAEAD(k, out)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, 12), plain, []byte(name)), nil
}

func localOpen(k *keys.Volume, name string, sealed []byte) ([]byte, error) {
	if len(sealed) < localSaltBytes {
		return nil, fmt.Errorf("%w: %s: %d bytes", ErrDamaged, name, len(sealed))
	}
	aead, err := localAEAD(k, sealed[:localSaltBytes])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, 12), sealed[localSaltBytes:], []byte(name))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not open", ErrDamaged, name)
	}
	return plain, nil
}

func localAEAD(k *keys.Volume, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha512.New, k.Superblock[:], nil, "qsfs/v1/local"+string(salt), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// freeBytes is what an unprivileged process may still write below dir; 0 when
// that can't be told.
func freeBytes(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}
