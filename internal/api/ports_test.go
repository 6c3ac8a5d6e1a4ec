package api_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/vm"
)

type portsAnswer struct {
	Ports     []portAnswer `json:"openPorts"`
	Opens     []portAnswer `json:"opens"`
	Closes    []portAnswer `json:"closes"`
	Tag       string       `json:"etag"`
	RevertsAt *time.Time   `json:"revertsAt"`
}

// A change is shown before it is made, refused when others came before, and undone
// unless it is confirmed.
func TestSafePorts(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	id := c.deploy("1")[0]
	c.report(vm.Ready)
	path := "/v1/vms/" + id + "/ports"
	ssh, web, tls := portAnswer{22, "tcp"}, portAnswer{80, "tcp"}, portAnswer{443, "tcp"}
	const only443 = `{"openPorts": [{"port": 443, "protocol": "tcp"}], "confirmWithin": "60s", "cutConnections": true}`

	var shown, made, kept portsAnswer
	c.send("PUT", path+"?dryRun=true", only443).wants(http.StatusOK, &shown)
	if !slices.Equal(shown.Opens, []portAnswer{tls}) || !slices.Equal(shown.Closes, []portAnswer{ssh, web}) || shown.RevertsAt == nil {
		t.Errorf("shown before: %+v", shown)
	}
	if v := c.one(id); !slices.Equal(v.Ports, []portAnswer{ssh, web}) {
		t.Errorf("a look has changed the ports to %v", v.Ports)
	}
	var story storyAnswer
	c.send("GET", "/v1/vms/"+id, "").wants(http.StatusOK, &story)
	c.send("PUT", path, only443, `If-Match: "`+story.PortsTag+`"`).wants(http.StatusOK, &made)
	c.send("PUT", path, only443, `If-Match: "`+story.PortsTag+`"`).refused(http.StatusConflict, "the ports have changed: 443/tcp are open now")
	c.send("GET", "/v1/vms/"+id, "").wants(http.StatusOK, &story)
	if made.RevertsAt == nil || story.RevertsAt == nil || !story.RevertsAt.Equal(*made.RevertsAt) || story.PortsTag != made.Tag {
		t.Errorf("made %+v, told %v, %q", made, story.RevertsAt, story.PortsTag)
	}
	for range 2 {
		c.send("POST", path+"/confirm", "").wants(http.StatusOK, &kept)
		if kept.RevertsAt != nil || !slices.Equal(kept.Ports, []portAnswer{tls}) {
			t.Errorf("kept %+v", kept)
		}
	}

	for body, says := range map[string]string{
		`{}`: "openPorts is missing",
		`{"openPorts": [{"port": 10250, "protocol": "tcp"}]}`: "port 10250 is reserved",
		`{"openPorts": [], "confirmWithin": "soon"}`:          `is not a duration such as 60s`,
		`{"openPorts": [], "confirmWithin": "0s"}`:            "is not a duration",
		`{"openPorts": [], "confirmWithin": "9s"}`:            "a change of ports is confirmed within 10s to 24h0m0s, not 9s",
		`{"openPorts": [], "confirmWithin": "-60s"}`:          "is confirmed within",
	} {
		c.send("PUT", path, body).refused(http.StatusUnprocessableEntity, says)
	}
	c.send("PUT", path, `{"openPorts": [], "cutConnections": "yes"}`).refused(http.StatusBadRequest, "cutConnections has to be true or false")
	_, stranger := c.newAccount("Bert", "customer")
	c.sendAs(stranger, "PUT", path, only443).refused(http.StatusNotFound, "no VM")
	c.sendAs(stranger, "POST", path+"/confirm", "").refused(http.StatusNotFound, "no VM")
}
