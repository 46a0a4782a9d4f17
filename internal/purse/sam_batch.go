package purse

// closeBatch signs the total of the batch, as often as it is asked.
func (s *SAM) closeBatch(command) ([]byte, StatusWord, error) {
	if s.state.State.IsOpen() || len(s.state.records) == 0 {
		return nil, OutOfOrder, nil
	}
	if s.state.State != SAMClosed {
		changed := *s.state
		changed.State = SAMClosed
		if err := s.store(changed); err != nil {
			return nil, 0, err
		}
	}
	return s.state.total().Append(nil), Done, nil
}

func (s *samState) total() Total {
	total := Total{
		Merchant: s.Merchant, Batch: s.Batch, First: s.First, Last: s.TNo, Payments: s.Payments, Voids: s.Voids, Sum: s.Sum, Chain: s.chain,
	}
	total.MAC = total.Sign(keyOf(s.key))
	return total
}

// ackBatch forgets the records: clearing has them.
func (s *SAM) ackBatch(of command) ([]byte, StatusWord, error) {
	if s.state.State != SAMClosed {
		return nil, OutOfOrder, nil
	}
	if !s.state.total().IsAcknowledged(keyOf(s.state.key), MAC(of.data)) {
		return nil, WrongMAC, nil
	}
	changed := *s.state
	changed.State = SAMIdle
	changed.Batch++
	changed.First = changed.TNo + 1
	changed.Payments, changed.Voids, changed.Sum = 0, 0, 0
	changed.records, changed.chain = nil, MAC{}
	if err := s.store(changed); err != nil {
		return nil, 0, err
	}
	return nil, Done, nil
}
