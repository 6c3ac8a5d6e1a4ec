package serial

import "time"

// Pace bounds how many bytes pass in a time. Its fields are set before it is used.
type Pace struct {
	Bytes int           // that may pass
	Per   time.Duration // in that time

	left  int
	timer *time.Timer
}

// Pass returns true when n bytes may pass, false when done is closed before.
func (p *Pace) Pass(done <-chan struct{}, n int) bool {
	if p.timer == nil {
		p.timer, p.left = time.NewTimer(p.Per), p.Bytes
	}
	for p.left -= n; p.left < 0; p.left += p.Bytes {
		select {
		case <-p.timer.C:
			p.timer.Reset(p.Per)
		case <-done:
			return false
		}
	}
	return true
}
