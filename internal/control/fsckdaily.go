package control

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
)

const (
	fsckEvery = 24 * time.Hour
	fsckFound = "fsck_found" // the setting: when the newest check ended, in seconds since 1970, and how many discrepancies it found
	fsckAt    = "fsck_at"    // the setting: when it was begun last, in seconds since 1970
	fsckTold  = 20           // discrepancies in the log
)

// FsckDaily checks all that is stored once a day, on one replica, and tells the
// operator what does not fit. It returns how many checks there were.
func (s *Service) FsckDaily(ctx context.Context) (int, error) {
	now := s.Now()
	due := func(tx *store.Tx) (bool, error) {
		last, err := tx.Setting(ctx, fsckAt)
		if fault.Is(err, fault.NotFound) {
			return true, nil
		}
		seconds, _ := strconv.ParseInt(last, 10, 64) // what can't be read is long ago
		return now.Sub(time.Unix(seconds, 0)) >= fsckEvery, err
	}
	mine := false
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		mine, err = due(tx)
		return err
	})
	if err != nil || !mine {
		return 0, err
	}
	err = s.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if mine, err = due(tx); err != nil || !mine {
			return err // another replica was faster
		}
		return tx.PutSetting(ctx, fsckAt, strconv.FormatInt(now.Unix(), 10))
	})
	if err != nil || !mine {
		return 0, err
	}
	found, err := s.Fsck(ctx, System)
	if err != nil {
		return 0, err
	}
	for _, d := range found.Discrepancies[:min(len(found.Discrepancies), fsckTold)] {
		s.Log.ErrorContext(ctx, "what is stored does not fit together", "subject", d.Subject, "finding", d.Text, "to_do", d.Repair)
	}
	if n := len(found.Discrepancies); n > 0 {
		s.Log.ErrorContext(ctx, "the daily check found discrepancies", "count", n, "to_do", "`cpucloud admin fsck` tells all of them")
	}
	return 1, nil
}

// checked returns how many discrepancies the newest check found, and when; the
// zero time before the first.
func checked(ctx context.Context, tx *store.Tx) (discrepancies int64, when time.Time, err error) {
	text, err := tx.Setting(ctx, fsckFound)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			err = nil
		}
		return 0, time.Time{}, err
	}
	var seconds int64
	if _, err := fmt.Sscanf(text, "%d %d", &seconds, &discrepancies); err != nil {
		return 0, time.Time{}, fmt.Errorf("read setting %s: %w", fsckFound, err)
	}
	return discrepancies, time.Unix(seconds, 0).UTC(), nil
}
