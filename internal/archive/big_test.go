package archive_test

import (
	"bytes"
	"testing"

	"github.com/cpucloud/cpucloud/internal/archive"
)

// A chunk may be larger than the memory that reading one takes.
func TestLargeChunk(t *testing.T) {
	t.Parallel()
	k := keys(t)
	object := bomb(t, k.Recipient)
	var out bytes.Buffer
	if err := archive.Open(&out, bytes.NewReader(object), k.Identity, 40*mib); err != nil || out.Len() != 40*mib {
		t.Errorf("%d bytes came out, %v", out.Len(), err)
	}
	out.Reset()
	if err := archive.Open(&out, bytes.NewReader(object), k.Identity, 30*mib); err == nil || out.Len() > 30*mib+1 {
		t.Errorf("%d bytes came out, %v; want no more than what was announced", out.Len(), err)
	}
}
