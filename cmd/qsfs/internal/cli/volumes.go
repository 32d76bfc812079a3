package cli

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/mountpoint"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/fs/control"
)

const (
	askTimeout   = 2 * time.Second  // a daemon answers who it is
	statusAnswer = 10 * time.Second // a daemon answers how its volume is
)

// volume is a volume of this machine, mounted or not, as status and ls show it. Its JSON is part of their schema.
type volume struct {
	Name       string     `json:"name"`
	StateDir   string     `json:"state_dir"`
	Mounted    bool       `json:"mounted"`
	Mountpoint string     `json:"mountpoint,omitempty"`
	PID        int        `json:"pid,omitempty"`
	Problem    string     `json:"problem,omitempty"`
	Info       *fs.Info   `json:"info,omitempty"`
	Status     *fs.Status `json:"status,omitempty"`

	client *control.Client
}

// daemons asks every control socket there is who is behind it. Sockets that nobody answers on are passed over.
func daemons(ctx context.Context, p places.Places) []volume {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var found []volume
	var asking sync.WaitGroup
	for _, path := range p.Sockets() {
		asking.Go(func() {
			client := control.NewClient(path)
			info, err := client.Info(ctx)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, volume{Name: info.Name, StateDir: info.StateDir, Mounted: true, Mountpoint: info.Mountpoint, PID: info.PID, client: client})
		})
	}
	asking.Wait()
	slices.SortFunc(found, byName)
	return found
}

func byName(a, b volume) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.StateDir, b.StateDir))
}

// volumes lists the volumes of the state folder, sorted by name.
func (a *app) volumes(ctx context.Context, p places.Places) ([]volume, error) {
	names, err := p.Names()
	if err != nil {
		return nil, err
	}
	mounted := map[string]volume{}
	for _, v := range daemons(ctx, p) {
		mounted[v.StateDir] = v
	}
	mounts, err := mountpoint.List()
	if err != nil {
		return nil, err
	}
	var all []volume
	for _, name := range names {
		dir := p.StateOf(name)
		v, isMounted := mounted[dir]
		if !isMounted {
			v = volume{Name: name, StateDir: dir}
		}
		info, err := a.readFinished(p, name)
		switch {
		case errors.Is(err, fs.ErrVolumeNotFound) && !isMounted:
			continue
		case err != nil:
			v.Problem = err.Error()
		default:
			v.Info = &info
		}
		if !isMounted {
			v.Problem = cmp.Or(v.Problem, leftMounted(mounts, name))
		}
		all = append(all, v)
	}
	return all, nil
}

// leftMounted tells of a mount whose daemon is gone. The source of a mount names the volume, not its state folder, so a
// mount that a living daemon answers for is another volume of that name.
func leftMounted(mounts mountpoint.Mounts, name string) string {
	for _, m := range mounts {
		if m.Ours() && m.Volume() == name && m.Dead() {
			return "its daemon is gone, and " + m.Path + ` is left mounted: "qsfs umount ` + m.Path + `"`
		}
	}
	return ""
}

// volume finds one volume by its name.
func (a *app) volume(ctx context.Context, p places.Places, name string) (volume, error) {
	if err := places.CheckName(name); err != nil {
		return volume{}, exit.New(exit.Usage, "", "%w", err)
	}
	all, err := a.volumes(ctx, p)
	if err != nil {
		return volume{}, err
	}
	for _, v := range all {
		if v.Name == name {
			return v, nil
		}
	}
	return volume{}, exit.New(exit.NotFound, `"qsfs ls" lists the volumes of this machine`, "%w: %s", fs.ErrVolumeNotFound, name)
}

// ask fills in the status of a mounted volume. A daemon that does not answer is a problem of the volume, not an error.
func (v *volume) ask(ctx context.Context) {
	if v.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusAnswer)
	defer cancel()
	status, err := v.client.Status(ctx)
	if err != nil {
		v.Problem = "its daemon does not answer: " + err.Error()
		return
	}
	v.Status = &status.Status
}

// daemonAt finds the daemon that has a volume mounted on path.
func daemonAt(ctx context.Context, p places.Places, path string) (volume, bool) {
	for _, v := range daemons(ctx, p) {
		if filepath.Clean(v.Mountpoint) == path {
			return v, true
		}
	}
	return volume{}, false
}
