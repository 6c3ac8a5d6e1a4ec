package api

import (
	"net/http"
	"time"
)

var deleteVM = operation{
	method: http.MethodDelete, path: "/v1/vms/{id}", id: "deleteVM", tag: "Virtual machines",
	summary: "Delete a VM",
	text: "Ends the VM. What is left in its reserve is returned; the epoch that has begun is not refunded. Its disk and address are kept for a while, for nothing: " +
		"until `keptUntil` POST /v1/vms/{id}/undelete brings it back, and then they are purged. With `purge=true` they are purged at once, those of a VM " +
		"that was deleted before as well. A VM that was never Active has nothing to be kept. It may be repeated.",
	query:    []parameter{{"purge", "Purge its disk at once: it can't be brought back.", "true"}},
	response: `{"id": "` + exampleID + `", "keptUntil": "2026-02-01T12:00:00Z"}`,
	refusals: map[int]string{
		http.StatusNotFound: `no VM with id "` + exampleID + `"`,
		http.StatusConflict: "VM web-1 is protected: nothing was deleted; unprotect it first, if it is really to go",
	},
}

// Deletion is what becomes of a VM that was deleted.
type Deletion struct {
	ID        string     `json:"id" pattern:"^0x[0-9a-fA-F]{40}$"`
	KeptUntil *time.Time `json:"keptUntil" nullable:"true" doc:"When its disk is purged, and until when it can be undeleted; null when that is at once."`
}

func (a *api) deleteVM(c *call, _ none) (Deletion, error) {
	purge, err := c.flag("purge")
	if err != nil {
		return Deletion{}, err
	}
	d, err := a.control.Delete(c.Context(), c.who, c.PathValue("id"), purge)
	return Deletion{ID: d.ID, KeptUntil: moment(d.KeptUntil)}, err
}
