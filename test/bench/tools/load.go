// SPDX-License-Identifier: GPL-3.0-or-later
// Clients of Orthanc. Each has one connection, and sends its next request when it has read the answer to the last one.
package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// plan says what is sent. Instances have numbers; so have series, each with its own patient and study.
type plan struct {
	Address   string
	Operation string
	Clients   int
	// No request begins later. 0: as many requests as there are instances.
	Seconds float64
	// The first instance, and how many there are: for POST, how many at most.
	First     int
	Count     int
	PerSeries int
	// A DICOM file whose ids end in digits; a number takes their place.
	Template string
	Ids      struct{ Patient, Study, Series, Instance string }
}

type result struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
	CpuMs   float64 `json:"cpuMs"`
	// Of the latency of each request, in ms.
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

func (p *plan) run() (*result, error) {
	template, err := os.ReadFile(p.Template)
	if err != nil {
		return nil, err
	}
	var group sync.WaitGroup
	var mutex sync.Mutex
	next := 0
	latencies := make([][]time.Duration, p.Clients)
	failures := make(chan error, p.Clients)
	cpuBefore := cpuMs()
	begun := time.Now()
	deadline := begun.Add(time.Duration(p.Seconds * float64(time.Second)))
	take := func() (index int, ok bool) {
		mutex.Lock()
		defer mutex.Unlock()
		if p.isOver(next, deadline) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for number := range p.Clients {
		group.Add(1)
		go func() {
			defer group.Done()
			c := &client{plan: p, template: template, answer: make([]byte, 256*1024)}
			for {
				index, ok := take()
				if !ok {
					return
				}
				sent := time.Now()
				if err := c.send(index); err != nil {
					failures <- err
					return
				}
				latencies[number] = append(latencies[number], time.Since(sent))
			}
		}()
	}
	group.Wait()
	seconds := time.Since(begun).Seconds()
	select {
	case err := <-failures:
		return nil, err
	default:
	}
	var all []time.Duration
	for _, some := range latencies {
		all = append(all, some...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	percentile := func(share float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[int(share*float64(len(all)-1))]) / float64(time.Millisecond)
	}
	return &result{
		Count: len(all), Seconds: seconds, CpuMs: cpuMs() - cpuBefore,
		P50: percentile(0.5), P95: percentile(0.95), P99: percentile(0.99),
	}, nil
}

// isOver keeps series whole, and removes all that was stored.
func (p *plan) isOver(index int, deadline time.Time) bool {
	if p.Seconds == 0 {
		return index >= p.Count
	}
	isLate := time.Now().After(deadline)
	switch p.Operation {
	case "POST":
		return index >= p.Count || (isLate && index > 0 && index%p.PerSeries == 0)
	case "DELETE":
		return index >= p.Count
	default:
		return isLate && index > 0
	}
}

type client struct {
	plan       *plan
	template   []byte
	connection net.Conn
	reader     *bufio.Reader
	answer     []byte
}

// send does the operation on the instance or series that an index means.
func (c *client) send(index int) error {
	p := c.plan
	if p.Operation == "POST" {
		head, rest := p.fill(c.template, p.First+index)
		return c.exchange("POST", "/instances", "", -1, head, rest)
	}
	instance := p.First + index%p.Count
	series := (p.First + index%max(1, p.Count/p.PerSeries)*p.PerSeries) / p.PerSeries
	patient, study, seriesUID := withNumber(p.Ids.Patient, series), withNumber(p.Ids.Study, series), withNumber(p.Ids.Series, series)
	switch p.Operation {
	case "file":
		return c.exchange("GET", "/instances/"+p.idOf(instance)+"/file", "", int64(len(c.template)))
	case "tags":
		return c.exchange("GET", "/instances/"+p.idOf(instance)+"/tags", "", -1)
	case "archive":
		return c.exchange("GET", "/series/"+hash(patient, study, seriesUID)+"/archive", "", -1)
	case "retrieve":
		accept := "Accept: multipart/related; type=\"application/dicom\"; transfer-syntax=*\r\n"
		return c.exchange("GET", "/dicom-web/studies/"+study+"/series/"+seriesUID, accept, -1)
	case "DELETE":
		return c.exchange("DELETE", "/instances/"+p.idOf(instance), "", -1)
	default:
		return fmt.Errorf("no such operation: %s", p.Operation)
	}
}

// exchange sends a request in one piece. It fails for any answer but 200, and for one of another length than expected, if that is not -1.
func (c *client) exchange(method, path, headers string, expected int64, body ...[]byte) error {
	if c.connection == nil {
		connection, err := net.Dial("tcp", c.plan.Address)
		if err != nil {
			return err
		}
		c.connection = connection
		c.reader = bufio.NewReaderSize(connection, 16*1024)
	}
	length := 0
	for _, piece := range body {
		length += len(piece)
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n", method, path, c.plan.Address, length, headers)
	pieces := append(net.Buffers{[]byte(head)}, body...)
	if _, err := pieces.WriteTo(c.connection); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	var size int64
	for {
		n, err := response.Body.Read(c.answer)
		size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	if response.StatusCode != 200 || (expected >= 0 && size != expected) {
		return fmt.Errorf("%s %s: status %d, %d bytes", method, path, response.StatusCode, size)
	}
	if response.Close {
		_ = c.connection.Close()
		c.connection = nil
	}
	return nil
}

// fill returns the template with an instance's own ids in the place of its own: what it changed, and the rest.
func (p *plan) fill(template []byte, instance int) (head, rest []byte) {
	const idsEnd = 2048
	size := min(len(template), idsEnd)
	changed := string(template[:size])
	series := instance / p.PerSeries
	for id, number := range map[string]int{p.Ids.Patient: series, p.Ids.Study: series, p.Ids.Series: series, p.Ids.Instance: instance} {
		changed = strings.ReplaceAll(changed, id, withNumber(id, number))
	}
	return []byte(changed), template[size:]
}

// withNumber puts a number in the place of the digits that an id ends with.
func withNumber(id string, number int) string {
	stem := strings.TrimRight(id, "0123456789")
	digits := strconv.Itoa(number)
	width := len(id) - len(stem)
	// A component of a UID must not begin with 0.
	return stem + "1" + strings.Repeat("0", max(0, width-1-len(digits))) + digits
}

func (p *plan) idOf(instance int) string {
	series := instance / p.PerSeries
	return hash(withNumber(p.Ids.Patient, series), withNumber(p.Ids.Study, series), withNumber(p.Ids.Series, series), withNumber(p.Ids.Instance, instance))
}

// hash is how Orthanc makes its own ids of those of DICOM.
func hash(ids ...string) string {
	sum := sha1.Sum([]byte(strings.Join(ids, "|")))
	digits := hex.EncodeToString(sum[:])
	return strings.Join([]string{digits[0:8], digits[8:16], digits[16:24], digits[24:32], digits[32:40]}, "-")
}
