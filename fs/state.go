package fs

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/fs/envelope"
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
func ReadInfo(stateDir string) (Info, error) { return disk{vfs.Default}.readInfo(stateDir) }

func (d disk) readInfo(stateDir string) (Info, error) {
	var info Info
	b, err := d.readFile(filepath.Join(stateDir, infoFile))
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
	if info.Version < 1 || info.VolumeID == "" {
		return info, fmt.Errorf("%w: %s", ErrDamaged, infoFile)
	}
	return info, nil
}

func (d disk) writeInfo(dir string, s *superblock.Superblock) error {
	info := Info{
		Version: stateVersion, Name: s.Name, VolumeID: hex.EncodeToString(s.VolumeID),
		CreatedAt: s.CreatedAt, Data: s.Data, Parity: s.Parity,
	}
	for _, n := range s.Nodes {
		info.Nodes = append(info.Nodes, InfoNode{ID: n.ID, URL: n.URL, Group: n.Group})
	}
	return d.writeJSON(filepath.Join(dir, infoFile), info)
}

func (d disk) readState(dir string) (localState, error) {
	var st localState
	b, err := d.readFile(filepath.Join(dir, stateFile))
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

func (d disk) writeState(dir string, st localState) error {
	return d.writeJSON(filepath.Join(dir, stateFile), st)
}

func (d disk) writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return d.writeFile(path, append(b, '\n'))
}

// writeSuperblockFile keeps the newest superblock beside the volume.
func (d disk) writeSuperblockFile(dir string, slot int, value []byte) error {
	return d.writeFile(filepath.Join(dir, superblockFile), append([]byte{byte(slot)}, value...))
}

func (d disk) readSuperblockFile(dir string, k *keys.Volume) (*superblock.Superblock, error) {
	b, err := d.readFile(filepath.Join(dir, superblockFile))
	if err != nil {
		return nil, err
	}
	if len(b) < 1 || int(b[0]) >= superblock.Slots {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, superblockFile)
	}
	return superblock.Open(b[1:], int(b[0]), k)
}

const localLabel = "qsfs/v1/local"

// localSeal encrypts a small file of the state folder: an envelope under the
// superblock key, the file's name being the place.
func localSeal(k *keys.Volume, name string, plain []byte) ([]byte, error) {
	return envelope.Seal(&k.Superblock, localLabel, []byte(name), plain, entropy)
}

func localOpen(k *keys.Volume, name string, sealed []byte) ([]byte, error) {
	plain, err := envelope.Open(&k.Superblock, localLabel, []byte(name), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return plain, nil
}
