package cli_test

import (
	"net/http"
	"strings"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// chooses reports whether the VM is one that the query asks for.
func chooses(r *http.Request, v doc) bool {
	chosen, err := vm.ParseSelector(strings.Join(r.URL.Query()["label"], ","))
	return err == nil && chosen.Matches(labelsOf(v))
}

func labelsOf(v doc) vm.Labels {
	l, _ := v["labels"].(vm.Labels)
	return l
}

// label changes the labels of a VM, and says what they are then.
func (s *stub) label(w http.ResponseWriter, r *http.Request, body doc) {
	v := s.vms[s.find(vmOf(r))]
	changes := map[string]*string{}
	for key, value := range body["labels"].(doc) {
		changes[key] = nil
		if text, is := value.(string); is {
			changes[key] = &text
		}
	}
	merged := labelsOf(v).Merge(changes)
	if err := vm.CheckLabels(merged); err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	v["labels"] = merged
	answer(w, http.StatusOK, doc{"labels": merged})
}
