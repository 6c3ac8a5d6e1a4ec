package serial

import (
	"encoding/binary"
	"errors"
	"io"
)

// LogSize is the size of a log's file at most.
const LogSize = logHeader + Kept

// logHeader is the length of what stands before the ring: how many bytes were ever
// appended, big endian.
const logHeader = 8

// Log keeps the newest Kept bytes of a console in a file of fixed size, a ring. It
// is not synced: it outlives the process that writes it, not the host.
type Log struct {
	file  io.WriterAt
	total int64
}

// OpenLog returns a log that goes on in file.
func OpenLog(file interface {
	io.ReaderAt
	io.WriterAt
},
) *Log {
	return &Log{file: file, total: appended(file)}
}

func appended(file io.ReaderAt) int64 {
	var header [logHeader]byte
	if _, err := file.ReadAt(header[:], 0); err != nil {
		return 0
	}
	return max(0, int64(binary.BigEndian.Uint64(header[:]))) //nolint:gosec // what is no count is taken for 0
}

// Append adds text in the place of the oldest.
func (l *Log) Append(text []byte) error {
	if more := len(text) - Kept; more > 0 {
		l.total += int64(more)
		text = text[more:]
	}
	at := l.total % Kept
	first := min(int64(len(text)), Kept-at)
	_, err := l.file.WriteAt(text[:first], logHeader+at)
	if err == nil && first < int64(len(text)) {
		_, err = l.file.WriteAt(text[first:], logHeader)
	}
	l.total += int64(len(text))
	var header [logHeader]byte
	binary.BigEndian.PutUint64(header[:], uint64(l.total)) //nolint:gosec // it only grows, from 0
	_, headerErr := l.file.WriteAt(header[:], 0)
	return errors.Join(err, headerErr)
}

// ReadLog returns what a log keeps, oldest first.
func ReadLog(file io.ReaderAt) ([]byte, error) {
	total := appended(file)
	length := min(total, Kept)
	ring := make([]byte, length)
	n, err := file.ReadAt(ring, logHeader)
	if errors.Is(err, io.EOF) { // a full disk kept part of it
		ring, err = ring[:n], nil
	}
	if total <= Kept || int64(n) < length {
		return ring, err
	}
	at := total % Kept
	return append(ring[at:len(ring):len(ring)], ring[:at]...), err
}
