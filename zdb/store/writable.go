package store

import (
	"context"
	"fmt"

	"github.com/qsfs/qsfs/zdb"
)

// TakesWrites says whether a new value would be taken now: nil, what Ping says, or
// zdb.ErrNoSpace while the disk is full. The limit of the store does not count.
func (s *Store) TakesWrites(ctx context.Context) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	s.indexMu.RLock()
	full := s.ix != nil && s.ix.fs.isFull()
	s.indexMu.RUnlock()
	if full || !s.room.fits(0) {
		return fmt.Errorf("%w: disk", zdb.ErrNoSpace)
	}
	return nil
}
