//! The device's application and the protocol, without a board: whatever the link loses or whenever
//! the power fails.

mod simulated;

use embedded_io::ErrorKind;
use proptest::prelude::*;
use simulated::{BUFFER, Flashes, MAX_DATA, MAX_PATCHES, MAX_ROW, Session, connect};
use vod_core::conv::{self, LayerParts, Network, NetworkParts, Operation};
use vod_core::{Bank, BankParts, Grid, ImageScore, LevelFeatures, Levels, ScoreStage, ValueKind};
use vod_host::backbone::int8;
use vod_host::bank_file::encode_parts;
use vod_host::device::host_verdict;
use vod_host::score::Frame;
use vod_protocol::faults::Fault;
use vod_protocol::{
    ClientError, Header, LevelPixels, Received, Refusal, Request, Responder, Response, VERSION,
    Verdict, encode,
};

const DIMENSION: usize = 16;
const ROWS: usize = 20;
const HELLO: Request = Request::Hello { version: VERSION };

/// Numbers that look random; the same for a seed.
fn noise(seed: u64) -> impl Iterator<Item = i8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as i8
    })
}

fn bank(seed: u64) -> Vec<u8> {
    bank_for(seed, (0, 0))
}

fn bank_for(seed: u64, grid: (u16, u16)) -> Vec<u8> {
    let rows: Vec<i8> = noise(seed).take(ROWS * DIMENSION).collect();
    let norms: Vec<u8> = rows
        .chunks(DIMENSION)
        .map(|row| row.iter().map(|&x| i32::from(x).pow(2) as u32).sum::<u32>())
        .flat_map(u32::to_le_bytes)
        .collect();
    let weights = noise(!seed).take(DIMENSION);
    let weights: Vec<u8> = weights.flat_map(|w| i16::from(w).to_le_bytes()).collect();
    let cells = u32::from(grid.0) * u32::from(grid.1);
    let starts = (0..=cells).map(|cell| cell * ROWS as u32 / cells.max(1));
    let cells: Vec<u8> = if cells == 0 {
        Vec::new()
    } else {
        starts.flat_map(u32::to_le_bytes).collect()
    };
    encode_parts(&BankParts {
        dimension: DIMENSION as u16,
        row_count: ROWS as u32,
        grid,
        values: ValueKind::Signed,
        distance_weight: 3,
        shift: 4,
        taps: [104, 62, 14, 0, 0, 0],
        top_share: 1000,
        image_score: ImageScore::whole(ScoreStage::Raw),
        threshold: 4000,
        normal_score: 1000,
        map_threshold: 5000,
        radius: 1,
        weights: &weights,
        norms: &norms,
        cells: &cells,
        rows: &rows.iter().map(|&x| x as u8).collect::<Vec<_>>(),
        host: &[],
    })
    .unwrap()
}

fn frame(seed: u64, grid: Grid) -> Vec<i8> {
    noise(seed).take(grid.len() * DIMENSION).collect()
}

/// What the device has to answer, its cycles apart.
fn expected(bank: &[u8], frame: &Frame) -> (Verdict, Vec<i32>) {
    host_verdict(&Bank::from_bytes(bank).unwrap(), frame).unwrap()
}

/// The same bank, for frames at several levels.
fn bank_of(levels: Levels, bank: &[u8]) -> Vec<u8> {
    let mut parts = Bank::from_bytes(bank).unwrap().parts().clone();
    parts.image_score.levels = levels;
    encode_parts(&parts).unwrap()
}

/// Has features scored that are a frame of one level.
fn score(
    session: &mut Session,
    grid: Grid,
    features: &[i8],
) -> Result<Verdict, ClientError<ErrorKind>> {
    session.score(&[LevelFeatures { grid, features }])
}

/// Has pixels scored that are a frame of one level.
fn score_pixels(
    session: &mut Session,
    height: u16,
    width: u16,
    pixels: &[u8],
) -> Result<Verdict, ClientError<ErrorKind>> {
    session.score_pixels(&[LevelPixels {
        height,
        width,
        pixels,
    }])
}

/// Has a frame scored at the bank's levels and compares everything with the host's own result.
fn check_frame(
    session: &mut Session,
    bank: &[u8],
    grid: Grid,
    seed: u64,
) -> Result<(), ClientError<ErrorKind>> {
    let levels = Bank::from_bytes(bank).unwrap().parts().image_score.levels;
    let mut whole = Frame::at_one_level(grid, &frame(seed, grid));
    for level in 1..levels.count() {
        let side = |side: usize| side.div_ceil(1 << level);
        let grid = Grid::new(side(grid.height()), side(grid.width())).unwrap();
        whole.coarser.push((grid, frame(seed + level as u64, grid)));
    }
    let verdict = session.score(&whole.at_levels(levels).unwrap())?;
    let mut map = vec![0; grid.len()];
    session.read_map(&mut map)?;
    let cycles = verdict.cycles;
    let (wanted, wanted_map) = expected(bank, &whole);
    assert_eq!(verdict, Verdict { cycles, ..wanted });
    assert_eq!(map, wanted_map);
    Ok(())
}

fn slots() -> Flashes {
    Flashes::new(64 + bank(0).len())
}

/// Slots with a bank that was installed by an update.
fn slots_with(bank: &[u8]) -> Flashes {
    let (cable, running) = slots().start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    session.update(bank, |_| ()).unwrap();
    drop(session);
    running.stopped()
}

fn grid(height: usize, width: usize) -> Grid {
    Grid::new(height, width).unwrap()
}

#[test]
fn updates_frames_maps_and_counters() {
    let (first, second) = (bank(1), bank(2));
    let (cable, running) = slots().start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    assert_eq!(session.device().board.as_str(), "simulated");
    assert_eq!(session.bank().unwrap(), None);
    for (number, bytes) in [&first, &second, &first].into_iter().enumerate() {
        let mut told = Vec::new();
        session.update(bytes, |done| told.push(done)).unwrap();
        assert_eq!(told.last(), Some(&bytes.len()));
        let info = session.bank().unwrap().unwrap();
        assert_eq!(info.slot as usize, number % 2);
        assert_eq!(info.generation as usize, number + 1);
        assert_eq!(info.length as usize, bytes.len());
        assert_eq!(info.id.to_le_bytes(), *bytes.last_chunk::<4>().unwrap());
        // A row, a column, less than the smoothing kernel, the largest.
        for (seed, (height, width)) in [(1, 20), (31, 1), (2, 2), (4, 32), (12, 10)]
            .into_iter()
            .enumerate()
        {
            check_frame(&mut session, bytes, grid(height, width), seed as u64).unwrap();
        }
    }
    let statistics = session.statistics().unwrap();
    assert_eq!(statistics.frames, 15);
    assert_eq!(statistics.updates, 3);
    assert_eq!((statistics.repeated, statistics.damaged), (0, 0));
    assert!(statistics.cycles > 0);
    session.reset().unwrap();
    assert_eq!(session.statistics().unwrap().frames, 0);
    check_frame(&mut session, &first, grid(3, 3), 5).unwrap();
    drop(session);
    running.stopped();
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let good = bank(1);
    let (cable, _running) = slots().start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    let refused = |result: Result<(), ClientError<ErrorKind>>, refusal| {
        assert_eq!(result, Err(ClientError::Refused(refusal)));
    };
    let score_sides = |session: &mut Session, height, width| {
        let grid = grid(height, width);
        score(session, grid, &frame(0, grid)).map(drop)
    };
    refused(score_sides(&mut session, 1, 1), Refusal::NoBank);
    refused(session.read_map(&mut [0]), Refusal::NotBegun);
    let limit = session.device().max_bank;
    let long = vec![0; limit as usize + 1];
    refused(session.update(&long, |_| ()), Refusal::TooLong { limit });
    let mut damaged = good.clone();
    damaged[40] ^= 1;
    refused(session.update(&damaged, |_| ()), Refusal::BadBank);
    assert_eq!(session.bank().unwrap(), None);
    session.update(&good, |_| ()).unwrap();
    refused(session.update(&damaged, |_| ()), Refusal::BadBank);
    check_frame(&mut session, &good, grid(2, 5), 9).unwrap();
    let limit = MAX_ROW as u32;
    refused(
        score_sides(&mut session, 1, MAX_ROW / DIMENSION + 1),
        Refusal::TooLong { limit },
    );
    let limit = MAX_PATCHES as u32;
    refused(
        score_sides(&mut session, MAX_PATCHES + 1, 1),
        Refusal::TooLong { limit },
    );
    let short = score(&mut session, grid(2, 2), &frame(0, grid(1, 2)));
    let missing = 2 * DIMENSION as u32;
    refused(short.map(drop), Refusal::Incomplete { missing });
    let long = score(&mut session, grid(2, 2), &frame(0, grid(3, 2)));
    let limit = 4 * DIMENSION as u32;
    refused(long.map(drop), Refusal::TooLong { limit });
    // The refusals left nothing behind.
    check_frame(&mut session, &good, grid(2, 5), 10).unwrap();
    assert_eq!(session.statistics().unwrap().updates_refused, 2);
}

#[test]
fn frames_at_several_levels_are_scored_like_on_the_host() {
    let one = bank(1);
    let banks = Levels::ALL.map(|levels| bank_of(levels, &one));
    let (cable, running) = Flashes::new(64 + banks[2].len()).start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    for (bytes, levels) in banks.iter().zip(Levels::ALL) {
        session.update(bytes, |_| ()).unwrap();
        let count = levels.count();
        assert_eq!(usize::from(session.bank().unwrap().unwrap().levels), count);
        // Odd sides, a row, a column, a patch.
        for (seed, (height, width)) in [(12, 10), (7, 9), (1, 20), (31, 1), (1, 1)]
            .into_iter()
            .enumerate()
        {
            check_frame(&mut session, bytes, grid(height, width), seed as u64).unwrap();
        }
        let refused = |result: Result<Verdict, ClientError<ErrorKind>>, refusal| {
            assert_eq!(result, Err(ClientError::Refused(refusal)), "{levels:?}");
        };
        let expected = count as u8;
        let features = frame(0, grid(2, 2));
        let level = LevelFeatures {
            grid: grid(2, 2),
            features: &features,
        };
        refused(
            session.score(&[level; 4][..count - 1]),
            match count {
                // A verdict on nothing.
                1 => Refusal::NotBegun,
                _ => Refusal::Levels { expected },
            },
        );
        refused(
            session.score(&[level; 4][..count + 1]),
            Refusal::Levels { expected },
        );
        check_frame(&mut session, bytes, grid(5, 6), 8).unwrap();
    }
    // All levels have to find room together; a level can't begin before the one above it is there.
    let limit = MAX_PATCHES as u32;
    let refused = check_frame(&mut session, &banks[2], grid(16, 16), 1);
    assert_eq!(
        refused,
        Err(ClientError::Refused(Refusal::TooLong { limit }))
    );
    let features = frame(0, grid(2, 2));
    let short = LevelFeatures {
        grid: grid(2, 2),
        features: &features[..DIMENSION],
    };
    let missing = 3 * DIMENSION as u32;
    assert_eq!(
        session.score(&[short; 3]),
        Err(ClientError::Refused(Refusal::Incomplete { missing }))
    );
    check_frame(&mut session, &banks[2], grid(5, 6), 9).unwrap();
    drop(session);
    running.stopped();
}

#[test]
fn pixels_at_several_levels_are_scored_like_on_the_host() {
    let network_file = network(DIMENSION);
    let network = Network::from_bytes(&network_file).unwrap();
    let bytes = bank_of(Levels::Three, &bank(1));
    let both = [&bytes[..], &network_file].concat();
    let (cable, running) = Flashes::new(64 + both.len()).start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    session.update(&both, |_| ()).unwrap();
    for colours in [1, 3] {
        let sides = [(16u16, 12u16), (8, 6), (4, 4)];
        let pixels = sides.map(|(height, width)| -> Vec<u8> {
            let count = height * width * colours;
            noise(u64::from(count))
                .take(count.into())
                .map(|x| x as u8)
                .collect()
        });
        let given: Vec<LevelPixels> = std::iter::zip(sides, &pixels)
            .map(|((height, width), pixels)| LevelPixels {
                height,
                width,
                pixels,
            })
            .collect();
        let mut levels = given.iter().map(|level| {
            let (height, width) = (level.height.into(), level.width.into());
            let rgb: Vec<u8> = match colours {
                1 => level.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
                _ => level.pixels.to_vec(),
            };
            let features = int8::features(&network, &rgb, height, width).unwrap();
            (network.grid(height, width).unwrap(), features)
        });
        let (grid, features) = levels.next().unwrap();
        let frame = Frame {
            grid,
            features,
            coarser: levels.collect(),
        };
        let (wanted, wanted_map) = expected(&bytes, &frame);
        let verdict = session.score_pixels(&given).unwrap();
        let all = frame.coarser.iter().map(|(_, features)| features);
        let all: Vec<i8> = std::iter::once(&frame.features)
            .chain(all)
            .flatten()
            .copied()
            .collect();
        let run = verdict.network.unwrap();
        assert_eq!(run.features, conv::checksum(bytemuck::cast_slice(&all)));
        check_answer(&mut session, verdict, wanted, &wanted_map);
    }
    drop(session);
    running.stopped();
}

#[test]
fn a_bank_of_one_grid_refuses_others() {
    let aligned = bank_for(3, (4, 5));
    let (cable, _running) = Flashes::new(64 + aligned.len()).start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    session.update(&aligned, |_| ()).unwrap();
    check_frame(&mut session, &aligned, grid(4, 5), 3).unwrap();
    let other = score(&mut session, grid(5, 4), &frame(0, grid(5, 4)));
    assert_eq!(other, Err(ClientError::Refused(Refusal::Grid)));
}

/// A network of one layer, 3 x 3 of RGB to [`DIMENSION`] channels at stride 2.
fn network(dimension: usize) -> Vec<u8> {
    const PATCH: usize = 28;
    let mut values = noise(4);
    let mut bytes = |count: usize| -> Vec<u8> {
        let bytes = values.by_ref().take(count);
        bytes.map(|x| x as u8).collect()
    };
    // Beyond the 27 weights is padding.
    let mut weights = bytes(dimension * PATCH);
    weights.chunks_mut(PATCH).for_each(|patch| patch[27] = 0);
    let multipliers = [1i32 << 28; DIMENSION + 4].map(i32::to_le_bytes).concat();
    let layer = LayerParts {
        operation: Operation::Convolution,
        kernel: 3,
        stride: 2,
        pad: 1,
        inputs: 3,
        outputs: dimension as u16,
        output_zero: 0,
        shift: 5,
        skip: None,
        weights: &weights,
        multipliers: &multipliers[..4 * dimension],
        biases: &vec![0; 4 * dimension],
    };
    let parts = NetworkParts {
        input_zero: 0,
        gain: 1 << 16,
        centres: &bytes(dimension),
        layers: 1,
    };
    let body = [
        postcard::to_stdvec(&parts).unwrap(),
        postcard::to_stdvec(&layer).unwrap(),
    ]
    .concat();
    let mut file = conv::MAGIC.to_vec();
    file.extend(conv::VERSION.to_le_bytes());
    file.extend([0, 0]);
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file.extend(conv::checksum(&file).to_le_bytes());
    file
}

/// Has pixels scored, and compares with the features that the host makes of them.
fn check_pixels(session: &mut Session, bank: &[u8], network: &[u8], sides: [u16; 2], colours: u16) {
    let [height, width] = sides;
    let network = Network::from_bytes(network).unwrap();
    let count = height * width * colours;
    let pixels: Vec<u8> = noise(u64::from(count))
        .take(count.into())
        .map(|x| x as u8)
        .collect();
    let rgb: Vec<u8> = match colours {
        1 => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => pixels.clone(),
    };
    let (rows, columns) = (usize::from(height), usize::from(width));
    let features = int8::features(&network, &rgb, rows, columns).unwrap();
    let grid = network.grid(rows, columns).unwrap();
    let (wanted, wanted_map) = expected(bank, &Frame::at_one_level(grid, &features));
    let verdict = score_pixels(session, height, width, &pixels).unwrap();
    let run = verdict.network.unwrap();
    let bytes: &[u8] = bytemuck::cast_slice(&features);
    assert_eq!(run.features, conv::checksum(bytes));
    assert!(run.cycles > 0);
    check_answer(session, verdict, wanted, &wanted_map);
}

/// Compares an answer, but for its cycles and the network's part, and the map behind it.
fn check_answer(session: &mut Session, verdict: Verdict, wanted: Verdict, wanted_map: &[i32]) {
    let (cycles, network) = (verdict.cycles, verdict.network);
    assert_eq!(
        verdict,
        Verdict {
            cycles,
            network,
            ..wanted
        }
    );
    let mut map = vec![0; wanted_map.len()];
    session.read_map(&mut map).unwrap();
    assert_eq!(map, wanted_map);
}

#[test]
fn a_bank_with_its_network_takes_pixels_and_features() {
    let (bank, network) = (bank(1), network(DIMENSION));
    let both = [bank.clone(), network.clone()].concat();
    let (cable, running) = Flashes::new(64 + both.len()).start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    assert!(session.device().pixels);
    let refused = |result: Result<Verdict, ClientError<ErrorKind>>, refusal| {
        assert_eq!(result, Err(ClientError::Refused(refusal)));
    };
    refused(score_pixels(&mut session, 4, 4, &[0; 16]), Refusal::NoBank);
    session.update(&bank, |_| ()).unwrap();
    assert_eq!(session.bank().unwrap().unwrap().stride, 0);
    refused(
        score_pixels(&mut session, 4, 4, &[0; 16]),
        Refusal::NoNetwork,
    );
    session.update(&both, |_| ()).unwrap();
    let info = session.bank().unwrap().unwrap();
    assert_eq!((info.stride, info.length as usize), (2, both.len()));
    assert_eq!(info.id.to_le_bytes(), *bank.last_chunk::<4>().unwrap());
    for (sides, colours) in [([2, 2], 1), ([8, 10], 3), ([30, 6], 1), ([4, 12], 3)] {
        check_pixels(&mut session, &bank, &network, sides, colours);
        check_frame(&mut session, &bank, grid(3, 4), 2).unwrap();
    }
    // Odd, of two colours, of no pixel, wider than there is room for.
    refused(score_pixels(&mut session, 3, 4, &[0; 12]), Refusal::Grid);
    refused(score_pixels(&mut session, 4, 4, &[0; 32]), Refusal::Grid);
    refused(score_pixels(&mut session, 0, 4, &[]), Refusal::Grid);
    let limit = MAX_ROW as u32;
    refused(
        score_pixels(&mut session, 2, 64, &[0; 128]),
        Refusal::TooLong { limit },
    );
    refused(
        score_pixels(&mut session, 66, 16, &[0; 66 * 16]),
        Refusal::TooLong {
            limit: MAX_PATCHES as u32,
        },
    );
    check_pixels(&mut session, &bank, &network, [8, 10], 3);
    drop(session);
    running.stopped();
}

#[test]
fn a_damaged_network_or_one_of_another_bank_is_refused() {
    let (bank, right) = (bank(1), network(DIMENSION));
    let mut damaged = right.clone();
    damaged[30] ^= 1;
    let cut = &right[..right.len() - 1];
    let (cable, _running) = Flashes::new(4096).start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    session.update(&bank, |_| ()).unwrap();
    for wrong in [&damaged, cut, &network(DIMENSION + 4)] {
        let refused = session.update(&[&bank, wrong].concat(), |_| ());
        assert_eq!(refused, Err(ClientError::Refused(Refusal::BadBank)));
    }
    check_frame(&mut session, &bank, grid(3, 4), 2).unwrap();
}

fn update_requests(bank: &[u8]) -> Vec<Request<'_>> {
    let length = bank.len() as u32;
    let chunks = bank.chunks(MAX_DATA).zip(0..);
    let chunks = chunks.map(|(data, number)| Request::UpdateChunk {
        offset: number * MAX_DATA as u32,
        data,
    });
    [HELLO, Request::UpdateBegin { length }]
        .into_iter()
        .chain(chunks)
        .chain([Request::UpdateFinish])
        .collect()
}

/// Whether a device with these slots scores with `bank`.
fn scores_with(mut slots: Flashes, bank: &[u8]) -> bool {
    let grid = grid(3, 4);
    let features = frame(1, grid);
    let answers = slots.answers(&[
        HELLO,
        Request::FrameBegin {
            height: 3,
            width: 4,
        },
        Request::FrameChunk {
            offset: 0,
            data: bytemuck::cast_slice(&features),
        },
        Request::FrameFinish,
        Request::Map { offset: 0 },
    ]);
    let (wanted, wanted_map) = expected(bank, &Frame::at_one_level(grid, &features));
    let answer = |number: usize| postcard::from_bytes(&answers[number]).unwrap();
    let Response::Verdict(verdict) = answer(3) else {
        return false;
    };
    let cycles = verdict.cycles;
    let scores: &[u8] = bytemuck::cast_slice(&wanted_map);
    verdict == Verdict { cycles, ..wanted } && answer(4) == Response::Map { scores }
}

#[test]
fn power_that_fails_at_any_byte_of_an_update_leaves_a_working_bank() {
    let (old, new) = (bank(1), bank(2));
    let update = update_requests(&new);
    // The next update goes into slot 1; with one more before, into slot 0.
    let mut one = slots();
    one.answers(&update_requests(&old));
    let mut two = slots();
    two.answers(&update);
    two.answers(&update_requests(&old));
    for before in [one, two] {
        for changes in 0.. {
            let mut flash = before.with_power(changes);
            let finished = flash.answers(&update).len() == update.len();
            let wanted = if finished { &new } else { &old };
            assert!(
                scores_with(flash.clone(), wanted),
                "power cut after {changes} bytes"
            );
            // What the cut left behind is no obstacle to the next update.
            flash.answers(&update);
            assert!(
                scores_with(flash, &new),
                "second update after {changes} bytes"
            );
            if finished {
                assert!(changes > new.len());
                break;
            }
        }
    }
}

#[test]
fn a_slot_that_rots_gives_way_to_the_older_one() {
    let (old, new) = (bank(1), bank(2));
    let (cable, running) = slots_with(&old).start(Vec::new());
    connect(cable, Vec::new(), 1)
        .unwrap()
        .update(&new, |_| ())
        .unwrap();
    let flash = running.stopped();
    for index in [0, 4, 10, 20, 60, 64, 80, 64 + new.len() - 1] {
        let mut rotten = flash.with_power(usize::MAX);
        rotten.slot_mut(1)[index] ^= 0x10;
        let (cable, _running) = rotten.start(Vec::new());
        let mut session = connect(cable, Vec::new(), 1).unwrap();
        check_frame(&mut session, &old, grid(3, 4), index as u64).unwrap();
    }
}

#[test]
fn a_device_that_restarted_says_so() {
    let bank = bank(1);
    let (cable, _running) = slots_with(&bank).with_power(300).start(Vec::new());
    let mut session = connect(cable, Vec::new(), 1).unwrap();
    assert_eq!(session.update(&bank, |_| ()), Err(ClientError::Closed));
    // A request of a session that it never heard of, behind the same line.
    let mut responder = Responder::<BUFFER>::new();
    let (mut request, mut answer) = ([0; 64], [0; 64]);
    let header = Header {
        session: 7,
        sequence: 3,
    };
    let request = encode(header, &Request::Bank, &mut request).unwrap();
    let refusal = Response::Refused(Refusal::Session);
    let wanted = encode(header, &refusal, &mut answer).unwrap();
    let refused = request.iter().any(
        |&byte| matches!(responder.push(byte), Some(Received::Refuse(answer)) if answer == wanted),
    );
    assert!(refused);
}

#[test]
fn a_device_that_says_nothing_is_given_up() {
    let lost = vec![Fault::Lose; 4];
    let (cable, running) = slots().start(Vec::new());
    let result = connect(cable, lost, 4).map(drop);
    assert_eq!(result, Err(ClientError::NoAnswer { attempts: 4 }));
    drop(running.stopped());
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Lose),
        1 => Just(Fault::Repeat),
        1 => Just(Fault::Delay),
        1 => (any::<usize>(), 1u8..).prop_map(|(byte, bits)| Fault::Damage { byte, bits }),
        1 => any::<usize>().prop_map(|byte| Fault::Cut { byte }),
        1 => any::<u8>().prop_map(|byte| Fault::Noise { byte }),
    ]
}

fn plan() -> impl Strategy<Value = Vec<Fault>> {
    prop::collection::vec(fault(), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// More attempts than faults: everything is done, each thing once, with the right result.
    #[test]
    fn no_fault_of_the_link_changes_a_result(requests in plan(), answers in plan()) {
        let (old, new) = (bank(1), bank_of(Levels::Two, &bank(2)));
        let attempts = (requests.len() + answers.len() + 1) as u32;
        let (cable, running) = slots_with(&old).start(answers);
        let mut session = connect(cable, requests, attempts).unwrap();
        check_frame(&mut session, &old, grid(5, 9), 1).unwrap();
        session.update(&new, |_| ()).unwrap();
        check_frame(&mut session, &new, grid(3, 7), 2).unwrap();
        let statistics = session.statistics().unwrap();
        prop_assert_eq!((statistics.frames, statistics.updates), (2, 1));
        prop_assert_eq!(session.bank().unwrap().unwrap().generation, 2);
        drop(session);
        running.stopped();
    }

    /// Few attempts: a request may fail, but no result is wrong, and the next session finds a
    /// device that works.
    #[test]
    fn what_is_given_up_leaves_a_working_device(requests in plan(), answers in plan()) {
        let (old, new) = (bank(1), bank(2));
        let (cable, running) = slots_with(&old).start(answers);
        if let Ok(mut session) = connect(cable, requests, 2) {
            let _ = check_frame(&mut session, &old, grid(5, 9), 1);
            let _ = session.update(&new, |_| ());
        }
        let (cable, _running) = running.stopped().start(Vec::new());
        let mut session = connect(cable, Vec::new(), 1).unwrap();
        let wanted = match session.bank().unwrap().unwrap().generation {
            1 => old,
            2 => new,
            other => panic!("generation {other}"),
        };
        check_frame(&mut session, &wanted, grid(5, 9), 3).unwrap();
    }

    /// Bytes from anywhere, then a frame: it is found.
    #[test]
    fn a_frame_is_found_behind_any_bytes(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut responder = Responder::<BUFFER>::new();
        let mut buffer = [0; 64];
        let header = Header { session: 1, sequence: 0 };
        let frame = encode(header, &HELLO, &mut buffer).unwrap();
        let mut found = false;
        for &byte in noise.iter().chain(&[0]).chain(frame) {
            if let Some(Received::Request(request)) = responder.push(byte) {
                found = request == HELLO;
            }
        }
        prop_assert!(found);
    }

    /// Requests in any order with any numbers: each gets an answer, and the device still works.
    #[test]
    fn any_requests_leave_a_working_device(requests in prop::collection::vec(any_request(), 0..30)) {
        let bank = bank(1);
        let mut flash = slots();
        flash.answers(&update_requests(&bank));
        let requests: Vec<_> = [HELLO].into_iter().chain(requests).collect();
        prop_assert_eq!(flash.answers(&requests).len(), requests.len());
        prop_assert!(scores_with(flash, &bank));
    }
}

/// Data that the requests below borrow.
const DATA: [u8; MAX_DATA] = [3; MAX_DATA];

fn any_request() -> impl Strategy<Value = Request<'static>> {
    let small = prop_oneof![0u32..100, any::<u32>()];
    let data = (0..=MAX_DATA).prop_map(|length| &DATA[..length]);
    let side = || prop_oneof![0u16..10, any::<u16>()];
    let number = || small.clone();
    prop_oneof![
        Just(Request::Bank),
        number().prop_map(|length| Request::UpdateBegin { length }),
        (number(), data.clone()).prop_map(|(offset, data)| Request::UpdateChunk { offset, data }),
        Just(Request::UpdateFinish),
        (side(), side()).prop_map(|(height, width)| Request::FrameBegin { height, width }),
        (side(), side()).prop_map(|(height, width)| Request::Level { height, width }),
        (number(), data).prop_map(|(offset, data)| Request::FrameChunk { offset, data }),
        Just(Request::FrameFinish),
        (side(), side(), 0u8..5).prop_map(|(height, width, colours)| Request::PixelsBegin {
            height,
            width,
            colours
        }),
        number().prop_map(|offset| Request::Map { offset }),
        Just(Request::Statistics),
        Just(Request::Reset),
    ]
}
