package usage

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Key names a VM in a batch: the 20 bytes that its id spells.
type Key [20]byte

// Batch is what several VMs used in the same time, by VM.
type Batch map[Key][]Point

// Merge adds what another batch of the same width tells, nothing twice.
func (b Batch) Merge(other Batch) {
	for key, series := range other {
		b[key] = Merge(b[key], series)
	}
}

// AppendBatch writes a batch of series of points of width slots behind data.
func AppendBatch(data []byte, b Batch, width int64) []byte {
	keys := make([]Key, 0, len(b))
	for key := range b {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, c Key) int { return bytes.Compare(a[:], c[:]) })
	var series []byte
	for _, key := range keys {
		series = Append(series[:0], b[key], width)
		data = append(data, key[:]...)
		data = binary.AppendUvarint(data, uint64(len(series)))
		data = append(data, series...)
	}
	return data
}

// DecodeBatch reads what AppendBatch has written: the series of all VMs, or of those that
// only names. Returns a Malformed fault for anything else, and for a series of more
// than most points.
func DecodeBatch(data []byte, most int, only ...Key) (Batch, error) {
	b := Batch{}
	for r := (reader{data: data}); len(r.data) > 0; {
		var key Key
		r.data = r.data[copy(key[:], r.data):]
		n := r.uvarint()
		if r.failed || n > uint64(len(r.data)) {
			return nil, errDamaged
		}
		one := r.data[:n]
		r.data = r.data[n:]
		if len(only) > 0 && !slices.Contains(only, key) {
			continue
		}
		if b[key] != nil {
			return nil, errDamaged
		}
		series, _, err := Decode(one, most)
		if err != nil {
			return nil, err
		}
		b[key] = series
	}
	return b, nil
}
